"""What happens to every picture before it is given away; the operator's choice, never a client's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffpc.errors import InputError
from diffpc.libraries import quiet
from diffpc.serve.watermark import library, mark
from diffpc.types import Image

GREY = 128
"""Stands in for a picture that is withheld."""

CHECKED_SIDE = 512
"""Models that draw at least this side are checked; below, the checker sees no detail to judge."""

NSFW = "withheld: the NSFW check of this service found the picture unsuitable; change the prompt or the seed"


@dataclass(frozen=True)
class SafetySettings:
    """Which safeguards run."""

    nsfw_checker: Path | None = None
    """Folder of diffusers' StableDiffusionSafetyChecker with its preprocessor_config.json."""
    nsfw: bool = True
    """Check the pictures of SDXL-size models where a checker is given."""
    watermark: bool = True
    """Put an invisible mark into the pixels."""


Checker = Callable[[Image], bool]
"""Whether a picture is unsuitable."""

Marker = Callable[[Image], Image]
"""The picture with an invisible mark."""


@dataclass(frozen=True)
class Safety:
    """The safeguards of one model."""

    checker: Checker | None
    marker: Marker | None
    notes: Sequence[str]
    """What the operator should know, one sentence each."""

    def __call__(self, image: Image) -> tuple[Image, str | None]:
        """The picture as it is given away, and why it is withheld if it is."""
        if self.checker is not None and self.checker(image):
            return np.full_like(image, GREY), NSFW
        return (image if self.marker is None else self.marker(image)), None


def load_safety(settings: SafetySettings, side: int, device: Any) -> Safety:
    """The safeguards that suit a model.

    Args:
        settings: the operator's choice.
        side: pixels of the pictures that the model draws.
        device: where the checker runs.

    Raises:
        UsageError: if the watermark's library is not installed.
        InputError: if the checker cannot be loaded.
    """
    notes: list[str] = []
    checker = None
    if settings.nsfw and side >= CHECKED_SIDE and settings.nsfw_checker is None:
        notes.append("pictures are not checked for nakedness: no checker; pass --nsfw-checker FOLDER")
    elif not settings.nsfw and side >= CHECKED_SIDE:
        notes.append("pictures are not checked for nakedness: switched off by --no-nsfw")
    elif settings.nsfw and settings.nsfw_checker is not None:
        checker = load_checker(settings.nsfw_checker, device)
    if not settings.watermark:
        notes.append("pictures have no invisible watermark: switched off by --no-watermark")
    else:
        library()
    return Safety(checker, mark if settings.watermark else None, tuple(notes))


def load_checker(folder: Path, device: Any) -> Checker:
    """diffusers' checker (CompVis/stable-diffusion-safety-checker) from a folder.

    Raises:
        InputError: if it is not one.
    """
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPImageProcessor

    if not (folder / "config.json").is_file() or not (folder / "preprocessor_config.json").is_file():
        raise InputError(
            f"{folder}: holds no safety checker; give a folder with its config.json, weights in .safetensors and "
            "preprocessor_config.json"
        )
    try:
        with quiet():
            network: Any = StableDiffusionSafetyChecker.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
            processor: Any = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, LookupError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"{folder}: the checker cannot be loaded ({reason[:160]}); download it again"
        ) from error
    network = network.to(device).eval()

    def unsuitable(image: Image) -> bool:
        pixels = processor(images=image, return_tensors="pt").pixel_values.to(device)
        with torch.no_grad():
            _, found = network(images=[image.copy()], clip_input=pixels)
        return bool(found[0])

    return unsuitable
