"""How every command reports."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffpc.types import Say


@dataclass(frozen=True)
class Output:
    """How a command reports."""

    json: bool = False
    """Print one JSON object instead of a summary."""
    quiet: bool = False
    """No progress bar, no notes."""
    debug: bool = False
    """Show the traceback of an unexpected error."""


def overview(usage: str, about: str, heading: str, entries: Mapping[str, str], ending: str = "") -> str:
    """The help of a command that has others below it.

    Args:
        usage: how it is called.
        about: what it does.
        heading: what the others are.
        entries: name -> what it does.
        ending: what else is to be known.
    """
    lines = [f"  {name:<12}{summary}" for name, summary in entries.items()]
    return "\n".join(
        [f"usage: {usage}", "", about, "", f"{heading}:", *lines, *(["", ending] if ending else [])]
    )


def hush() -> None:
    """The libraries talk to developers while they are imported and used; their errors still come through."""
    warnings.simplefilter("ignore")
    for name in ("torchao", "torch.utils._pytree"):  # diffusers imports the first where it is installed
        logging.getLogger(name).setLevel(logging.ERROR)
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")


def say_for(quiet: bool) -> Say:
    """Tells the user what goes on, or nothing; of several processes the first speaks."""

    def say(line: str) -> None:
        if not quiet and os.environ.get("RANK", "0") == "0":  # torchrun's; the others know the same
            print(f"diffpc: {line}", file=sys.stderr)

    return say
