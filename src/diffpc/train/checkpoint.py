"""Checkpoints: safetensors and JSON, complete or not there at all.

A checkpoint is a folder that appears by one rename, so a process killed at any moment leaves the previous one
whole. Its JSON holds the sha256 of its tensors: a damaged one is recognised and passed over.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffpc.errors import InputError
from diffpc.weights import sha256

PREFIX = "checkpoint-"
TENSORS = "tensors.safetensors"
STATE = "state.json"


def save(folder: Path, images: int, tensors: dict[str, Tensor], state: dict[str, Any], keep: int) -> Path:
    """Write the checkpoint for `images` seen; of it and the older ones, the last `keep` stay.

    Newer ones go: a run resumes from the newest whole one, so those must be damaged. So do the remains of a
    process that was killed while it wrote.

    Raises:
        InputError: if it cannot be written, for instance on a full disk; the older ones stay as they are.
    """
    final = folder / f"{PREFIX}{images:010d}"
    temporary = folder / f".{final.name}.{os.getpid()}"
    for remains in folder.glob(f".{PREFIX}*"):
        shutil.rmtree(remains)
    try:
        temporary.mkdir(parents=True)
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            temporary / TENSORS,
        )
        content = {**state, "images": images, "sha256": sha256(temporary / TENSORS)}
        (temporary / STATE).write_text(json.dumps(content, indent=1))
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise InputError(
            f"{final} cannot be written ({error}); make room and run the same command again: it goes on from "
            "the checkpoint before"
        ) from error
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    kept = [path for path in _folders(folder) if path <= final][-keep:]
    for other in set(_folders(folder)) - set(kept):
        shutil.rmtree(other)
    return final


def load_latest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]] | None:
    """The newest whole checkpoint: its tensors, its state, and a message for each damaged one passed over.

    None if the folder has no checkpoints.

    Raises:
        InputError: if there are checkpoints and all of them are damaged.
    """
    messages: list[str] = []
    for candidate in reversed(_folders(folder)):
        found = _read(candidate)
        if found is not None:
            return *found, messages
        messages.append(f"{candidate.name} is damaged and was passed over")
    if messages:
        raise InputError(f"{folder}: all checkpoints are damaged; remove them to train from the start")
    return None


def newest_settings(folder: Path) -> dict[str, Any] | None:
    """What the run of the newest readable checkpoint was begun with; no tensor is read."""
    for candidate in reversed(_folders(folder)):
        try:
            return dict(json.loads((candidate / STATE).read_text())["settings"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged; `load_latest` tells
    return None


def load_at(folder: Path, images: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The checkpoint for `images` seen: its tensors and its state.

    Raises:
        InputError: if there is none, naming those there are, or it is damaged.
    """
    wanted = folder / f"{PREFIX}{images:010d}"
    kept = _folders(folder)
    if wanted not in kept:
        there = ", ".join(path.name.removeprefix(PREFIX).lstrip("0") or "0" for path in kept)
        raise InputError(
            f"{folder}: has no checkpoint after {images} images; choose one of: {there or 'none'}"
        )
    found = _read(wanted)
    if found is None:
        raise InputError(f"{wanted}: is damaged; choose another checkpoint")
    return found


def _read(candidate: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """None for one that is damaged."""
    try:
        state = json.loads((candidate / STATE).read_text())
        if sha256(candidate / TENSORS) == state["sha256"]:
            return load_file(candidate / TENSORS), state
    except (InputError, OSError, ValueError, KeyError, TypeError):
        pass  # cut short, or not what `save` writes
    return None


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())
