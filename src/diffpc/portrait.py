"""What goes into a portrait and what comes out of it: the values of `pipeline.DiffPCPipeline`."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffpc.diffusion.sample import SampleSettings
from diffpc.errors import UsageError
from diffpc.eyes import Likeness
from diffpc.face3d.skin import Skin
from diffpc.face_pass import Region
from diffpc.framing import View
from diffpc.identity.reference import ReferenceFeatures
from diffpc.types import FaceParams, Image

MAX_SIDE = 2048
"""Longest side of a portrait in pixels; beyond it no SDXL-sized UNet keeps a face together."""

STEP = 64
"""Sides must be multiples of it: the VAE halves them three times, the UNet twice more, with room to spare."""

LIMITS = {
    "steps": (1, 1000),
    "count": (1, 64),
    "guidance": (1.0, 30.0),
    "strength": (0.0, 2.0),
    "seed": (0, 2**63 - 65),
}
"""Least and greatest value of each setting; guidance below 1 would draw what the prompt does not say."""


@dataclass(frozen=True)
class Identity:
    """Who: a person as the networks know them."""

    features: ReferenceFeatures
    """F_global and F_local."""
    params: FaceParams
    """The first photo's 3D face; alpha is the person's."""
    skin: Skin
    """The first photo's."""


@dataclass(frozen=True)
class Control:
    """How the head is held and what the face does, on the portrait's canvas."""

    params: FaceParams
    """(alpha_ref, beta_tgt, gamma_tgt) of Eq. 7."""
    view: View
    """The part of the target's frame that the portrait shows."""
    i_3d: Float[Tensor, "H W"]
    """The render, [0, 1]."""
    i_skin: Float[Tensor, "H W 3"] | None = None
    """The reference's skin on the same pixels, RGB in [0, 1]; None where the model is not told it."""

    @property
    def size(self) -> tuple[int, int]:
        """Width, height of the canvas."""
        height, width = self.i_3d.shape
        return width, height

    def picture(self) -> Image:
        """I_3d as the VAE sees it."""
        return _bytes(self.i_3d[..., None].expand(-1, -1, 3))

    def skin_picture(self) -> Image | None:
        """I_skin as the VAE sees it; None where the model is not told it."""
        return None if self.i_skin is None else _bytes(self.i_skin)


def _bytes(picture: Float[Tensor, "H W 3"]) -> Image:
    return (picture.clamp(0, 1) * 255).round().byte().cpu().numpy()


@dataclass(frozen=True)
class Portrait:
    """One generated picture and what is known of it."""

    image: Image
    """RGB, uint8."""
    seed: int
    prompt: str
    settings: PortraitSettings
    """Those that draw this one portrait again: its seed, its size, count 1."""
    likeness: Likeness
    """How well it obeyed, as the model's own eyes see it."""


@dataclass(frozen=True)
class PortraitSet:
    """Everything one call made."""

    portraits: tuple[Portrait, ...]
    identity: Identity
    control: Control
    seconds: dict[str, float]
    """Wall time per stage."""
    face: Region | None = None
    """What the second pass drew again; None: there was none."""


@dataclass(frozen=True)
class PortraitSettings:
    """How to draw."""

    steps: int = 8
    guidance: float = 1.0
    """Classifier-free guidance; 1 is off and runs half as long."""
    strength: float = 1.0
    """Identity strength; 0 is the base model without reference and pose."""
    seed: int = 0
    count: int = 1
    """Portraits, with seeds counting up from `seed`."""
    size: tuple[int, int] | None = None
    """Width, height in pixels; None takes the model's own."""
    face_pass: Literal["auto", "on", "off"] = "auto"
    """A second pass over the face: auto where it is small, see `face_pass.is_small`; on always, and the face may
    be as small as it is asked for; off never."""
    compile: bool = False
    """Run each step as one compiled graph: minutes for the first portrait of a size, less for all that follow, and
    the same picture up to rounding."""

    def sampling(self, size: tuple[int, int], skipped: int = 0) -> SampleSettings:
        """For the denoising loop, at a size in pixels, with steps left out at the beginning."""
        seeds = tuple(self.seed + number for number in range(self.count))
        return SampleSettings(self.steps, self.guidance, self.strength, size, skipped, self.compile, seeds)


@dataclass
class Clock:
    """Sums the seconds of each stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    device: torch.device | None = None
    """A GPU works on while Python goes ahead: a stage ends when this one has done it."""

    @contextmanager
    def __call__(self, stage: str) -> Generator[None]:
        """Time the context as a part of `stage`."""
        started = time.perf_counter()
        yield
        if self.device is not None and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - started, 4)


def check_settings(settings: PortraitSettings, default_size: tuple[int, int]) -> None:
    """Refuse settings out of range.

    Args:
        settings: what is asked for.
        default_size: width, height in pixels that the model was trained on.

    Raises:
        UsageError: naming the value and the range.
    """
    width, height = settings.size or default_size
    least = min(default_size) // 2
    if width % STEP or height % STEP or not least <= min(width, height) <= max(width, height) <= MAX_SIDE:
        raise UsageError(
            f"unsupported size {width} x {height}; both sides must be multiples of {STEP} "
            f"from {max(least, STEP)} to {MAX_SIDE}"
        )
    for name, (low, high) in LIMITS.items():
        if not low <= getattr(settings, name) <= high:
            raise UsageError(f"{name} is {getattr(settings, name)}, expected {low} to {high}")
