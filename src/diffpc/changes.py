"""Which model, and what of its base is replaced or changed, as a user names it; nothing here reads a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffpc.errors import UsageError

MAX_WEIGHT = 10.0
"""Of a LoRA, either way; far beyond what any is drawn with."""


@dataclass(frozen=True)
class Lora:
    """A LoRA file, and how much of it."""

    path: Path
    weight: float = 1.0
    """Its change of the base is multiplied by it."""


@dataclass(frozen=True)
class Changes:
    """What of a base is replaced or changed."""

    unet: Path | None = None
    """Takes the place of the base's: a file of diffusers' or the original layout, or a folder."""
    vae: Path | None = None
    """The same for its VAE."""
    loras: tuple[Lora, ...] = ()
    """Drawn with."""
    idle: Mapping[str, Sequence[Path]] = field(default_factory=dict[str, Sequence[Path]])
    """More LoRA files, by the prefix of their adapters' names; see `loras.activate`."""
    fast: str | None = None
    """One of `distilled.SCHEDULES`; None: as the files' names say."""


def parsed_lora(text: str | Path) -> Lora:
    """What `--lora FILE[=WEIGHT]` says.

    Raises:
        UsageError: if the weight is no number, or out of range.
    """
    path, _, weight = str(text).rpartition("=")
    if not path or Path(text).exists():  # a name may have a sign of equality in it
        return Lora(Path(text))
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not abs(value) <= MAX_WEIGHT:
        raise UsageError(
            f"--lora {text}: expected FILE=WEIGHT with a number from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g}"
        )
    return Lora(Path(path), value)


@dataclass(frozen=True)
class ModelOptions:
    """Which model draws, and where. None: not given."""

    model: str | None = None
    """tiny (bundled), a folder, an adapter's file, or OWNER/NAME on the Hugging Face hub."""
    base: str | None = None
    """SDXL checkpoint (folder or .safetensors file) to use the model's adapter on."""
    unet: Path | None = None
    """UNet that takes the place of the base's, as SDXL-Lightning's: a .safetensors file, or a folder."""
    vae: Path | None = None
    """The same for the VAE."""
    lora: tuple[str, ...] = ()
    """LoRA files for the base; FILE=0.8 takes less of one."""
    fast: str | None = None
    """Draw in few steps, as UNet, LoRA or base were distilled for: lightning, hyper, hyper-cfg or lcm. Files of the
    published names say it themselves."""
    device: str | None = None
    """cpu, cuda, cuda:N or mps."""
    dtype: str | None = None
    """float32, bfloat16 or float16."""
    memory: tuple[str, ...] = ()
    """Draw with less memory: tiling, fp8 or int8, and on a GPU one of model, group, sequential."""

    @property
    def changes(self) -> Changes:
        """What of the base is replaced or changed.

        Raises:
            UsageError: for a LoRA's weight that is none.
        """
        return Changes(self.unet, self.vae, tuple(map(parsed_lora, self.lora)), fast=self.fast)
