"""The networks that all contenders share, with random weights: dense networks take the same time with any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from transformers import CLIPVisionModel

from diffpc.diffusion.backbone import Backbone, build
from diffpc.faces.align import ARCFACE_112
from diffpc.faces.embed import ChipEmbedder, MetricInfo, load_embedder
from diffpc.faces.iresnet import IResNet
from diffpc.identity.local import ClipPatches, DlibPatches, load_local_features, vit_h
from diffpc.loading import DTYPES
from diffpc.train.settings import Recipe
from diffpc.types import LandmarkLayout

LAYOUT: LandmarkLayout = "eyes_nose_mouth"
"""Of the synthetic landmarks."""


@dataclass(frozen=True)
class Parts:
    """Frozen networks, on the device and in the run's precision."""

    backbone: Backbone
    embedder: ChipEmbedder
    """E_global."""
    local: ClipPatches | DlibPatches
    """E_local."""

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.backbone.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """The run's precision."""
        return self.backbone.unet.dtype


def build_parts(recipe: Recipe, device: torch.device) -> Parts:
    """Initialise everything on the device itself: it takes seconds there, minutes elsewhere.

    Weights as the library's initialisers scale them. dlib's networks have their real weights, which are at hand.
    """
    torch.manual_seed(0)
    with torch.device(device):
        backbone = build(recipe.model.backbone)
        embedder = EMBEDDERS[recipe.model.faces.embedder]()
        local = LOCAL_FEATURES[recipe.model.faces.local_features]()
    modules = [*backbone.networks().values(), backbone.vae, embedder, local]
    for module in modules:
        nn.Module.to(module, device, DTYPES[recipe.engine.precision]).eval().requires_grad_(False)
    return Parts(backbone, embedder, local)


def awaken(module: nn.Module) -> nn.Module:
    """Give zero-initialised weights small random values: products with zeros draw less power than real ones."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1 and not parameter.any():
                nn.init.normal_(parameter, std=0.02)
    return module


def _arcface() -> ChipEmbedder:
    metric = MetricInfo(kind="cosine", threshold=0.35, note="random weights")
    return ChipEmbedder("arcface", IResNet(), IResNet().settings.dimension, ARCFACE_112, metric)


def _vit_h() -> ClipPatches:
    return ClipPatches(CLIPVisionModel(vit_h()))


EMBEDDERS: dict[str, Callable[[], ChipEmbedder]] = {
    "dlib": lambda: cast(ChipEmbedder, load_embedder("dlib")),
    "arcface": _arcface,
}
"""`FaceSettings.embedder` -> its network."""

LOCAL_FEATURES: dict[str, Callable[[], ClipPatches | DlibPatches]] = {
    "dlib": lambda: cast(DlibPatches, load_local_features("dlib")),
    "clip_vit_h": _vit_h,
}
"""`FaceSettings.local_features` -> its network."""
