"""The training loop that a user would otherwise write, in its first form and with its own best easy settings."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ablations.data.images import Images
from models.networks import build, initialise
from models.spec import Network

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
BATCH = 128


class Pictures(Dataset[tuple[Tensor, int]]):
    """A data set of PIL images, each transformed when it is asked for."""

    def __init__(self, data: Images, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images = [Image.fromarray(pixels) for pixels in data.train]
        self.labels, self.transform = data.train_labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


class Loop:
    """PyTorch as its tutorials have it: fp32, contiguous, torchvision's transforms, loss and error read at every step.

    `easy` adds what costs a line each: channels_last, bf16 autocast, a fused optimiser, numbers read once an epoch.
    """

    def __init__(self, network: Network, data: Images, *, easy: bool, workers: int = 0) -> None:
        plain = [transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)]
        augmented = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *plain]
        self.easy = easy
        self.train = DataLoader(
            Pictures(data, transforms.Compose(augmented)), BATCH, shuffle=True, num_workers=workers, drop_last=True,
            persistent_workers=workers > 0,
        )  # fmt: skip
        self.test = DataLoader(Pictures(data, transforms.Compose(plain)), BATCH)
        self.module = build(network)
        initialise(self.module, network, torch.Generator().manual_seed(0))
        if easy:
            self.module = self.module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimiser = torch.optim.SGD(
            self.module.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True if easy else None
        )
        self.batches = self._epochs()

    def step(self) -> None:
        """One SGD update."""
        images, labels = next(self.batches)
        with self._precision():
            logits = self.module(images.contiguous(memory_format=torch.channels_last) if self.easy else images)
        loss = F.cross_entropy(logits.float(), labels)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        if not self.easy:
            loss.item()
            (logits.argmax(1) != labels).sum().item()

    @torch.no_grad()
    def evaluate(self) -> None:
        """The error on as many images as the data set has."""
        self.module.eval()
        for images, labels in self.test:
            with self._precision():
                logits = self.module(images.contiguous(memory_format=torch.channels_last) if self.easy else images)
            (logits.argmax(1) != labels).sum().item()
        self.module.train()

    def _precision(self):
        return torch.autocast("cpu", dtype=torch.bfloat16) if self.easy else nullcontext()

    def _epochs(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.train
