"""One process of a grid: so many updates of ResNet-20, ours or the straightforward loop's. Prints images per second."""

import sys
import time

import torch
from straightforward import BATCH, Loop
from test_step import images, ours

from models.spec import Network


def main(kind: str, threads: int, updates: int, depth: int) -> None:
    network, data = Network(depth=depth, shortcut="A"), images()
    if kind == "ours":
        step = ours(network, data, "bf16").step
    else:
        torch.set_num_threads(threads)
        step = Loop(network, data, easy=kind == "easy", workers=1 if threads > 1 else 0).step
    for _ in range(2):
        step()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    started = time.perf_counter()
    for _ in range(updates):
        step()
    sys.stdout.write(f"{updates * BATCH / (time.perf_counter() - started)}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
