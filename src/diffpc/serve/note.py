"""The file that is given away: the picture with the record of its making."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffpc.face3d.written import written
from diffpc.images import encode_png
from diffpc.pipeline import Portrait
from diffpc.provenance import Provenance, png_metadata
from diffpc.serve.request import Mark, Origin, Photo, PortraitRequest, Wish
from diffpc.types import Image


@dataclass(frozen=True)
class Making:
    """What draws: the model's part of the record."""

    model: str
    base: str | None
    device: str
    dtype: str
    hashes: dict[str, str]
    """Weight file -> sha256, of model and base."""
    lora: tuple[Mark, ...]
    """LoRA files of every portrait that is in no style."""
    styles: dict[str, tuple[Mark, ...]]
    """Style -> its LoRA files."""
    lora_weights: tuple[float, ...] = ()
    """Of `lora`; none: all 1, as in styles."""
    unet: str | None = None
    """Name of what takes the place of the base's UNet."""
    vae: str | None = None
    """The same for its VAE."""
    memory: tuple[str, ...] = ()
    """Of `memory.SMALLER`."""
    fast: str | None = None
    """Of `distilled.SCHEDULES`."""

    def loras(self, style: str | None) -> tuple[Mark, ...]:
        """The LoRA files that a style is drawn with; None: no style."""
        return self.lora if style is None else self.styles[style]

    def weights(self, style: str | None) -> dict[str, str]:
        """All weight files that a style is drawn with: name -> sha256, as `diffpc generate` names them."""
        return self.hashes | {f"lora/{name}": digest for name, digest in self.loras(style)}


@dataclass(frozen=True)
class Signed:
    """A portrait as it is given away."""

    portrait: Portrait
    png: bytes


def signed(image: Image, portrait: Portrait, request: PortraitRequest, making: Making) -> Signed:
    """The portrait with its final picture, and as a PNG."""
    settings = recorded(request, portrait, making)
    provenance = Provenance(
        version("diffpc"), portrait.prompt, portrait.seed, settings, making.weights(request.style)
    )
    return Signed(replace(portrait, image=image), encode_png(image, png_metadata(provenance)))


def recorded(request: PortraitRequest, portrait: Portrait, making: Making) -> dict[str, Any]:
    """Everything but prompt and seed that draws the portrait again, in the form that `diffpc generate` writes.

    Names only, no folders: whoever gets the picture can read it.
    """
    wish, drawn, origin = request.wish, portrait.settings, request.made_of or Origin()
    expression = list(wish.expression.mark) if isinstance(wish.expression, Photo) else wish.expression
    record: dict[str, Any] = {
        "reference": [list(mark) for mark in origin.photos],
        "identity": list(origin.file) if origin.file else None,
        "target": list(wish.target.mark) if wish.target else None,
        "expression": expression,
        "pose": [wish.pose.yaw, wish.pose.pitch, wish.pose.roll] if wish.pose else None,
        "place": [wish.place.x, wish.place.y, wish.place.size] if wish.place else None,
        "model": _portable(making.model),
        "base": _portable(making.base),
        "unet": making.unet,
        "vae": making.vae,
        "lora": [list(mark) for mark in making.loras(request.style)],
        "lora_weights": list(making.lora_weights) if request.style is None else [],
        "fast": making.fast,
        "memory": list(making.memory),
        "steps": drawn.steps,
        "guidance": drawn.guidance,
        "strength": drawn.strength,
        "size": drawn.size,
        "face_pass": drawn.face_pass,
        "compile": drawn.compile,
        "face": origin.faces[0] if len(set(origin.faces)) == 1 else None,
        "target_face": wish.target.face if wish.target else None,
        "device": making.device,
        "dtype": making.dtype,
    }
    return record | _detail(wish, origin)


def _detail(wish: Wish, origin: Origin) -> dict[str, Any]:
    """What `diffpc generate` has no option for, and replays all the same; nothing where it is as usual."""
    photo = wish.expression if isinstance(wish.expression, Photo) else None
    found: dict[str, Any] = {
        "faces": list(origin.faces) if len(set(origin.faces)) > 1 else None,
        "expression_face": photo.face if photo else None,
        "scores": dict(wish.scores) or None,
        "params": written(wish.params) if wish.params is not None else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _portable(model: str | None) -> str | None:
    """A model's name without the folders it lies in."""
    path = Path(model or "")
    return path.name if model and path.exists() else model
