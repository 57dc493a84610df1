"""C compiled for this very processor when it is first needed, and kept: seconds once, nothing after."""

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC")
MOST_SECONDS = 120
INCLUDED = re.compile(rb'^#include "([\w.]+)"', re.MULTILINE)
"""A source beside another that is a part of it."""


class NoCompilerError(Exception):
    """No C compiler is here, or it cannot compile for this machine. One line."""


def cache() -> Path:
    """Folder of what was compiled: `ABLATE_CACHE`, or `~/.cache/ablate`. Raises NoCompilerError where neither is."""
    if named := os.environ.get("ABLATE_CACHE"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "ablate"
    except RuntimeError:  # a user without an entry, as in a container
        raise NoCompilerError("there is no home folder to keep it in; name one in ABLATE_CACHE") from None


@lru_cache(maxsize=8)
def library(source: Path, *defines: str, flags: tuple[str, ...] = (), links: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The compiled source, by FLAGS and then `flags`, linked to libraries as `-ljpeg`.

    Raises NoCompilerError where it cannot be had.
    """
    for compiler in COMPILERS:
        version = _version(compiler)
        if version is not None:
            command = (compiler, *FLAGS, *flags, *(f"-D{each}" for each in defines))
            return _loaded(_kept(source, command, links, version))
    raise NoCompilerError(f"none of {', '.join(COMPILERS)} is on the PATH; install a C compiler, as gcc")


def _version(compiler: str) -> str | None:
    try:
        return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _loaded(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:  # what it links to is not on this machine, which shares its cache with another
        raise NoCompilerError(f"{path.name} cannot be loaded ({error})") from error


def _kept(source: Path, command: Sequence[str], links: Sequence[str], version: str) -> Path:
    """The library for this source, compiler and processor: from the cache, or compiled into it.

    A library that is not what was compiled would crash the process that loads it, so its checksum lies beside it.
    """
    about = [*_texts(source), *(part.encode() for part in (*command, *links, version, _processor()))]
    path = cache() / f"{source.stem}-{hashlib.sha256(b'|'.join(about)).hexdigest()[:16]}.so"
    checksum = path.with_suffix(".sha256")
    with suppress(OSError):
        if checksum.read_text(encoding="utf-8") == hashlib.sha256(path.read_bytes()).hexdigest():
            return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".compile-") as folder:
            _compile(source, command, links, Path(folder) / path.name).replace(path)
            fresh = Path(folder) / checksum.name
            fresh.write_text(hashlib.sha256(path.read_bytes()).hexdigest(), encoding="utf-8")
            fresh.replace(checksum)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise NoCompilerError(f"{source.name} cannot be compiled ({' '.join(said.split())[-300:]})") from error
    return path


def _texts(source: Path) -> list[bytes]:
    """The source, and what it includes from beside it."""
    text = source.read_bytes()
    return [text, *(source.with_name(name.decode()).read_bytes() for name in INCLUDED.findall(text))]


def _compile(source: Path, command: Sequence[str], links: Sequence[str], to: Path) -> Path:
    command = [*command, str(source), "-o", str(to), *links]
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=MOST_SECONDS)
    return to


def _processor() -> str:
    """What the processor can do: a shared home folder may serve machines that differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return os.uname().machine
    return next((line for line in lines if line.startswith(("flags", "Features"))), os.uname().machine)
