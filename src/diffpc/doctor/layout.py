"""Whether the tensors in a weight file are those of the network it is for, without reading them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from diffpc.backends import require
from diffpc.diffusion.backbone import build
from diffpc.errors import InputError
from diffpc.external.places import assets_root, located
from diffpc.external.table import ASSETS
from diffpc.identity.local import vit_h
from diffpc.presets import sdxl
from diffpc.weights import check_state, weight_keys, weight_shapes


def check_vit_h(path: Path) -> None:
    """Hold a file against CLIP ViT-H/14 with its projection.

    Raises:
        InputError: naming what differs.
    """
    with torch.device("meta"):
        expected = CLIPVisionModelWithProjection(vit_h()).state_dict()
    # Older files carry the positions' numbers, which are no weights.
    found = {name: value for name, value in weight_shapes(path).items() if not name.endswith("position_ids")}
    check_state(found, expected, path)


def check_unet(path: Path) -> None:
    """Hold a file against SDXL's UNet.

    Raises:
        InputError: naming what differs.
    """
    with torch.device("meta"):
        expected = build(sdxl().backbone).unet.state_dict()
    check_state(weight_shapes(path), expected, path)


def check_lora(path: Path) -> None:
    """See that a file holds LoRA weights.

    Raises:
        InputError: if not.
    """
    if not any("lora" in key for key in weight_keys(path)):
        raise InputError(f"{path}: holds no LoRA weights; give a LoRA made for SDXL")


def check_onnx(path: Path) -> None:
    """See that a file holds an ONNX network that runs here.

    Raises:
        UsageError: if onnxruntime is not installed.
        InputError: if it does not.
    """
    runtime = require("onnxruntime", "curate")
    faults = runtime.capi.onnxruntime_pybind11_state
    try:
        runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except (faults.Fail, faults.InvalidProtobuf, faults.InvalidGraph, faults.InvalidArgument) as error:
        raise InputError(f"{path}: is no ONNX network ({str(error).splitlines()[0][:160]})") from error


def check_autoencoder(path: Path) -> None:
    """Hold a file against SDXL's VAE; the names in its attention changed over the years and are left out.

    Raises:
        InputError: naming what differs.
    """
    with torch.device("meta"):
        expected = build(sdxl().backbone).vae.state_dict()
    check_state(_plain(weight_shapes(path)), _plain(expected), path)


_LORAS = [name for name in ASSETS if "_lora" in name]
_UNETS = [name for name in ASSETS if name.endswith("_unet")]

LAYOUTS: dict[str, Callable[[Path], None]] = {
    "sdxl": check_unet,
    "sdxl_vae_fp16_fix": check_autoencoder,
    "clip_vit_h": check_vit_h,
    "fqa": check_onnx,
    **{name: check_unet for name in _UNETS},
    **{name: check_lora for name in _LORAS},
}
"""Asset -> check of its weight file, which raises InputError."""


def weight_files(asset: str) -> tuple[Path, ...]:
    """Files of an asset that LAYOUTS can check and that are here: of a whole model its UNet."""
    files = [file for file in ASSETS[asset].files if file.name.endswith((".safetensors", ".onnx"))]
    chosen = [file for file in files if "/unet/" in file.place] or files
    return tuple(path for file in chosen if (path := located(file, assets_root())).is_file())


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if ".attentions." not in name}
