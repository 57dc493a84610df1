"""Which backend decodes training images on this machine."""

import importlib.util

from ablations.data.photographs.backends import Backend, Threads
from ablations.data.photographs.beton import Beton
from ablations.data.photographs.decode import decoder


def backend(source: Beton, batch: int, workers: int) -> Backend:
    """FFCV's pipeline where it is installed and our decoder compiled, else threads; batches are of `batch` images.

    One worker, as a trial on the CPU has, gains nothing from FFCV, which compiles its pipeline for seconds first.
    """
    by = decoder()
    if workers > 1 and by.compiled is not None and importlib.util.find_spec("ffcv") is not None:
        from ablations.data.photographs.through_ffcv import ThroughFFCV

        return ThroughFFCV(source, batch, workers, by)
    return Threads(source, workers, by)
