"""Our code as one file that a cluster can unpack: our packages and a study file, and nothing else.

What is shipped is named, not what is left out: results, data, virtual environments, caches and the rest of a folder
never travel, whatever they are called. The file is the same for the same content, so Ray keeps it once.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.provenance import SOURCE, provenance
from orchestrator.remote.onsite import source_files

MOST_BYTES = 100 * 2**20
"""What Ray's head takes in one request."""
NAMED = 3
"""How many of the largest files a refusal names."""
_MADE = (1980, 1, 1, 0, 0, 0)


class TooLargeError(ValueError):
    """The code is too large to be shipped; the message names the largest files."""


@dataclass(frozen=True)
class Package:
    name: str
    content: bytes

    @property
    def uri(self) -> str:
        return f"gcs://{self.name}"


def pack(root: Path, study: tuple[str, str] | None = None, most_bytes: int = MOST_BYTES) -> Package:
    """Our packages below `root`, and a study file as (name, text). Raises TooLargeError."""
    files = source_files(root)
    entries = [(path.relative_to(root).as_posix(), path) for path in files]
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in entries:
            _add(archive, name, path.read_bytes())
        about = provenance()
        _add(archive, SOURCE, json.dumps({"commit": about["commit"], "dirty": about["dirty"]}).encode())
        if study is not None:
            _add(archive, study[0], study[1].encode())
    content = written.getvalue()
    if len(content) > most_bytes:
        raise TooLargeError(_too_large(root, files, len(content), most_bytes))
    return Package(f"_ray_pkg_{hashlib.sha256(content).hexdigest()[:32]}.zip", content)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _MADE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _too_large(root: Path, files: Sequence[Path], size: int, most: int) -> str:
    largest = sorted(files, key=lambda path: -path.stat().st_size)[:NAMED]
    named = ", ".join(f"{path.relative_to(root)} ({_mib(path.stat().st_size)})" for path in largest)
    return f"the code is {_mib(size)} packed, and a head takes {_mib(most)}; move away what is largest: {named}"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
