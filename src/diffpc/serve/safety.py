"""What happens to every picture before it is given away; the operator's choice, never a client's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffpc.pipeline import DiffPCPipeline
from diffpc.types import Image

GREY = 128
"""Stands in for a picture that is withheld."""

CHECKED_SIDE = 512
"""Models that draw at least this side can be asked for nakedness; below, there is no detail to judge."""

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


def load_safety(settings: SafetySettings, pipeline: DiffPCPipeline) -> Safety:
    """The safeguards that suit a model."""
    return Safety(None, None, ())
