"""What the libraries say and raise, as this package says it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from diffpc.errors import InputError, UsageError

COMPILERS = ("g++", "clang++")
"""What torch.compile makes code for a CPU with, where $CXX names no other."""


@contextmanager
def explained(name: str, remedy: str) -> Generator[None]:
    """What the libraries raise on files that do not fit becomes one line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, LookupError, SafetensorError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{name}: cannot be loaded ({reason[:160]}); {remedy}") from error


@contextmanager
def quiet() -> Generator[None]:
    """Without the libraries' progress bars and notes; faults are raised all the same."""
    libraries = (diffusers_logging, transformers_logging)
    levels = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)
            library.enable_progress_bar()


def missing_compiler(device: torch.device) -> str | None:
    """What torch.compile needs on a device and does not find; None if all is here."""
    if device.type == "cuda":
        return None if find_spec("triton") else "the package triton"
    wanted = (os.environ["CXX"],) if "CXX" in os.environ else COMPILERS
    return None if any(map(shutil.which, wanted)) else f"a C++ compiler ({' or '.join(wanted)})"


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where torch could not.

    Raises:
        UsageError: naming what is missing.
    """
    missing = missing_compiler(device)
    if missing:
        raise UsageError(f"--compile needs {missing}, which is not here; install it, or leave --compile out")
