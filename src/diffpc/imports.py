"""Importing libraries that stay for good."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def kept(library: str) -> Generator[None]:
    """Import without garbage collection: libraries make a million objects, and hardly one of them is garbage.

    The collector looks at new objects again and again while they grow in number, a tenth of the time that the
    imports take, and later at all of them with every full collection. So it rests meanwhile, and leaves what there is
    then out for good (`gc.freeze`). Where the library is here already, nothing is changed.

    Args:
        library: the largest that the context imports.
    """
    if library in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
