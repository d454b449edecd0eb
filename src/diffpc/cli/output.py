"""How every command reports."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class Output:
    """How a command reports."""

    json: bool = False
    """Print one JSON object instead of a summary."""
    quiet: bool = False
    """No progress bar, no notes."""
    debug: bool = False
    """Show the traceback of an unexpected error."""


def hush() -> None:
    """The libraries talk to developers while they are imported and used; their errors still come through."""
    warnings.simplefilter("ignore")
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
