"""Load a model, say who, say which 3D face, draw: four nodes over `diffpc`, which must be installed beside ComfyUI.

ComfyUI's contract: INPUT_TYPES, RETURN_TYPES, FUNCTION and CATEGORY of a class; an IMAGE is a float tensor
(B, H, W, C) of RGB in [0, 1].
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from diffpc.errors import UsageError
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement, condition, posed
from diffpc.face3d.presets import EXPRESSIONS, preset
from diffpc.identity_file import ENVIRONMENT, load_identity
from diffpc.loading import BUNDLED, load_pipeline
from diffpc.pipeline import DiffPCPipeline
from diffpc.portrait import LIMITS, MAX_SIDE, STEP, Identity, PortraitSettings
from diffpc.types import FaceParams, Image

CATEGORY = "Diff-PC"

AS_IT_IS = "as it is"
"""The expression of the target or the reference."""

MAX_SEED = LIMITS["seed"][1]


def picture_of(image: torch.Tensor) -> Image:
    """One picture of an IMAGE, (H, W, C), as RGB, uint8."""
    return (image[..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def image_of(pictures: list[Image]) -> torch.Tensor:
    """Pictures of one size -> IMAGE."""
    return torch.from_numpy(np.stack(pictures)).float() / 255


class DiffPCLoad:
    """A model, with another base if one is named."""

    RETURN_TYPES: ClassVar = ("DIFFPC_MODEL",)
    RETURN_NAMES: ClassVar = ("model",)
    FUNCTION = "load"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """See the module."""
        text = ("STRING", {"default": ""})
        return {
            "required": {"model": ("STRING", {"default": BUNDLED})},
            "optional": {"base": text, "device": text},
        }

    def load(self, model: str, base: str = "", device: str = "") -> tuple[DiffPCPipeline]:
        """A folder, an adapter's file, a name on the hub, or tiny; empty texts are the defaults."""
        return (load_pipeline(model, base or None, device=device or None),)


class DiffPCIdentity:
    """Who: photos of a person, or an identity file."""

    RETURN_TYPES: ClassVar = ("DIFFPC_IDENTITY",)
    RETURN_NAMES: ClassVar = ("identity",)
    FUNCTION = "identify"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """See the module."""
        return {
            "required": {"model": ("DIFFPC_MODEL",)},
            "optional": {
                "photos": ("IMAGE",),
                "file": ("STRING", {"default": ""}),
                "face": ("INT", {"default": -1, "min": -1, "max": 99}),
            },
        }

    def identify(
        self, model: DiffPCPipeline, photos: torch.Tensor | None = None, file: str = "", face: int = -1
    ) -> tuple[Identity]:
        """A batch of photos is averaged; face -1 is the one that stands out, 0 the largest."""
        if (photos is None) == (not file):
            raise UsageError("connect photos or name an identity file, one of them")
        if photos is None:
            return (load_identity(Path(file), model.eyes, os.environ.get(ENVIRONMENT)).identity,)
        return (model.identify([picture_of(one) for one in photos], None if face < 0 else face),)


class DiffPCControl:
    """Pose and expression: of a target photo, or in numbers; and how I_3d looks."""

    RETURN_TYPES: ClassVar = ("DIFFPC_FACE", "IMAGE")
    RETURN_NAMES: ClassVar = ("face", "i_3d")
    FUNCTION = "control"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """See the module."""
        share = {"min": 0.05, "max": 1.0, "step": 0.01}
        numbers: dict[str, Any] = {
            name: ("FLOAT", {"default": 0.0, "min": -limit, "max": limit, "step": 1.0})
            for name, limit in (("yaw", 90.0), ("pitch", 90.0), ("roll", 180.0))
        }
        numbers |= {
            name: ("FLOAT", {"default": value, **share})
            for name, value in (("x", 0.5), ("y", 0.45), ("size", 0.5))
        }
        required = {
            "model": ("DIFFPC_MODEL",),
            "identity": ("DIFFPC_IDENTITY",),
            "expression": ([AS_IT_IS, *EXPRESSIONS],),
            **numbers,
        }
        return {"required": required, "optional": {"target": ("IMAGE",)}}

    def control(
        self,
        model: DiffPCPipeline,
        identity: Identity,
        expression: str,
        target: torch.Tensor | None = None,
        **numbers: float,
    ) -> tuple[FaceParams, torch.Tensor]:
        """A target's pose, place and expression; without one the numbers. A named expression goes first."""
        face = model.eyes.model
        if target is None:
            angles = Angles(numbers["yaw"], numbers["pitch"], numbers["roll"])
            placement = Placement(numbers["x"], numbers["y"], numbers["size"])
            pose, found = posed(face, angles, placement, model.default_size), None
        else:
            photo = picture_of(target[0])
            found = pose = model.eyes.params(photo, model.eyes.face(photo, None, "the target"))
        wanted = condition(
            identity.params, found if expression == AS_IT_IS else preset(expression, face), pose
        )
        i_3d = model.place(wanted, model.default_size).i_3d
        return wanted, i_3d[None, :, :, None].expand(-1, -1, -1, 3).contiguous()


class DiffPCGenerate:
    """Portraits, and how well they obey."""

    RETURN_TYPES: ClassVar = ("IMAGE", "STRING")
    RETURN_NAMES: ClassVar = ("portraits", "figures")
    FUNCTION = "generate"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """See the module."""
        side = ("INT", {"default": 0, "min": 0, "max": MAX_SIDE, "step": STEP})
        return {
            "required": {
                "model": ("DIFFPC_MODEL",),
                "identity": ("DIFFPC_IDENTITY",),
                "face": ("DIFFPC_FACE",),
                "prompt": ("STRING", {"multiline": True, "default": "a portrait photo"}),
                "seed": ("INT", {"default": 0, "min": 0, "max": MAX_SEED}),
                "steps": ("INT", {"default": 8, "min": 1, "max": 100}),
                "guidance": ("FLOAT", {"default": 1.0, "min": 1.0, "max": 30.0, "step": 0.1}),
                "strength": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.05}),
                "count": ("INT", {"default": 1, "min": 1, "max": 64}),
                "width": side,
                "height": side,
                "face_pass": (["auto", "on", "off"],),
            }
        }

    def generate(
        self, model: DiffPCPipeline, identity: Identity, face: FaceParams, prompt: str, **options: Any
    ) -> tuple[torch.Tensor, str]:
        """Sides of 0 are the model's own."""
        width, height = options.pop("width"), options.pop("height")
        size = (width, height) if width and height else None
        portraits = model(identity, face, prompt, PortraitSettings(**options, size=size)).portraits
        figures = [{"seed": one.seed, **asdict(one.likeness)} for one in portraits]
        return image_of([one.image for one in portraits]), json.dumps(figures)


NODE_CLASS_MAPPINGS = {
    "DiffPCLoad": DiffPCLoad,
    "DiffPCIdentity": DiffPCIdentity,
    "DiffPCControl": DiffPCControl,
    "DiffPCGenerate": DiffPCGenerate,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "DiffPCLoad": "Diff-PC: load",
    "DiffPCIdentity": "Diff-PC: identity",
    "DiffPCControl": "Diff-PC: 3D control",
    "DiffPCGenerate": "Diff-PC: generate",
}
