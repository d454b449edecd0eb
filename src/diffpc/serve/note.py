"""The file that is given away: the picture with the record of its making."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffpc.images import encode_png
from diffpc.pipeline import Portrait
from diffpc.provenance import Provenance, png_metadata
from diffpc.serve.request import Mark, Origin, Photo, PortraitRequest
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

    Names only, no folders: whoever gets the picture can read it. Blendshape scores, and a face given as parameters,
    have no option in `diffpc generate`: scores get an entry of their own, which it refuses to replay.
    """
    wish, drawn, origin = request.wish, portrait.settings, request.made_of or Origin()
    expression = _mark(wish.expression) if isinstance(wish.expression, Photo) else wish.expression
    record: dict[str, Any] = {
        "reference": [list(mark) for mark in origin.photos],
        "identity": list(origin.file) if origin.file else None,
        "target": _mark(wish.target) if wish.target else None,
        "expression": expression,
        "pose": [wish.pose.yaw, wish.pose.pitch, wish.pose.roll] if wish.pose else None,
        "place": [wish.place.x, wish.place.y, wish.place.size] if wish.place else None,
        "model": _portable(making.model),
        "base": _portable(making.base),
        "lora": [list(mark) for mark in making.loras(request.style)],
        "steps": drawn.steps,
        "guidance": drawn.guidance,
        "strength": drawn.strength,
        "size": drawn.size,
        "face": origin.faces[0] if origin.faces else None,
        "target_face": wish.target.face if wish.target else None,
        "device": making.device,
        "dtype": making.dtype,
    }
    return record | ({"scores": dict(wish.scores)} if wish.scores else {})


def _mark(photo: Photo) -> list[str]:
    return [photo.name, photo.sha256]


def _portable(model: str | None) -> str | None:
    """A model's name without the folders it lies in."""
    path = Path(model or "")
    return path.name if model and path.exists() else model
