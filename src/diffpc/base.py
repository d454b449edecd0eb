"""An SDXL checkpoint in any form that is published -> the components of a base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, PreTrainedModel

from diffpc.changes import Changes
from diffpc.errors import InputError
from diffpc.external.places import assets_root
from diffpc.libraries import explained
from diffpc.networks import Stored, filled, load_network, take_out_of_files, weight_files
from diffpc.places import INDEX, place_of
from diffpc.weights import weight_keys

BASE = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet")
"""The base's components; its scheduler is made anew from its noise schedule."""

ORIGINAL = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "text_encoder": "conditioner.embedders.0.transformer.",
    "text_encoder_2": "conditioner.embedders.1.model.",
}
"""Where the components are in a single file of the original layout."""

OTHERS = {
    "lora": "is a LoRA; pass it as --lora",
    "down_blocks.0.resnets.0.": "holds a UNet alone; pass it as --unet, and the rest of SDXL as --base",
    "cond_stage_model.": "is a checkpoint of Stable Diffusion 1 or 2; give one of SDXL",
    "conditioner.embedders.0.model.": "is SDXL's refiner; give a base",
}
"""What else may be in a file that is given as a base: part of a tensor's name -> what to say."""

REPOSITORY = "stabilityai/stable-diffusion-xl-base-1.0"
"""Where configs and tokenizers of single files are looked for at last."""

_FOLDER = "give a folder in diffusers' layout of SDXL"
_COPY = "download or copy the model again"

P = TypeVar("P", bound=PreTrainedModel)


@dataclass(frozen=True)
class _Reading:
    """How a base is read."""

    configs: Path
    """Folder with the config of every component."""
    dtype: torch.dtype
    changes: Changes


def load_base(
    base: str, dtype: torch.dtype, configs: Path | None = None, changes: Changes | None = None
) -> DiffusionPipeline:
    """An SDXL checkpoint, on the CPU.

    Its UNet, most of it, comes last and is never twice in memory.

    Args:
        base: a folder in diffusers' layout, one .safetensors file, a name on the hub, or "tiny".
        dtype: of the networks.
        configs: where a model lies; a folder's configs describe a single file. Without them SDXL's own are taken,
            of the folder of assets or of the hub.
        changes: what takes the place of the checkpoint's UNet and VAE; its LoRAs are not for here.

    Raises:
        UsageError: if the name is unknown.
        InputError: if it is broken, incomplete, something else, or out of reach.
    """
    path, changes = place_of(base), changes or Changes()
    if path.is_dir():
        return _of_folder(path, _Reading(path, dtype, changes))
    _check_original(path, changes)
    return _of_file(path, _Reading(_configs(path, configs), dtype, changes))


def check_parts(folder: Path, components: Iterable[str]) -> None:
    """Every component has its folder, every network its weights, and no weight file is cut short.

    Raises:
        InputError: naming what is missing or broken.
    """
    for name in components:
        part = folder / name
        if not part.is_dir():
            raise InputError(f"{part}: is missing; {_COPY}")
        if not name.startswith(("tokenizer", "scheduler")):
            for path in weight_files(part).paths:
                weight_keys(path)


def _of_folder(path: Path, reading: _Reading) -> DiffusionPipeline:
    changes = reading.changes
    own = {"unet": changes.unet is None, "vae": changes.vae is None}
    check_parts(path, [name for name in (*BASE, "scheduler") if own.get(name, True)])
    parts: dict[str, Any] = {
        "text_encoder": _text_encoder(CLIPTextModel, path / "text_encoder", reading.dtype),
        "text_encoder_2": _text_encoder(CLIPTextModelWithProjection, path / "text_encoder_2", reading.dtype),
    }
    with explained(str(path), _FOLDER):
        for name in ("tokenizer", "tokenizer_2"):
            parts[name] = CLIPTokenizer.from_pretrained(path / name, local_files_only=True)
    parts["vae"] = _vae(changes.vae or path / "vae", reading)
    parts["unet"] = _unet(changes.unet or path / "unet", reading)
    return _joined(parts, path)


def _of_file(path: Path, reading: _Reading) -> DiffusionPipeline:
    from diffusers import StableDiffusionXLPipeline  # seconds to import

    with explained(str(path), "give an SDXL checkpoint"):
        found = StableDiffusionXLPipeline.from_single_file(
            str(path),
            config=str(reading.configs),
            dtype=reading.dtype,
            local_files_only=True,
            unet=None,
            vae=None,
        )
    parts = {name: getattr(found, name) for name in BASE if name not in ("unet", "vae")}
    for name in ("text_encoder", "text_encoder_2"):
        _own(parts[name], path, name)
    parts["vae"] = _vae(reading.changes.vae or path, reading)
    parts["unet"] = _unet(reading.changes.unet or path, reading)
    return _joined(parts, reading.configs)


def _joined(parts: Mapping[str, Any], configs: Path) -> DiffusionPipeline:
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline  # the second takes seconds to import

    with explained(str(configs / "scheduler"), _FOLDER):
        scheduler = DDIMScheduler.from_pretrained(configs, subfolder="scheduler", local_files_only=True)
    return StableDiffusionXLPipeline(**parts, scheduler=cast(Any, scheduler))  # declared as one other class


def _text_encoder(form: type[P], folder: Path, dtype: torch.dtype) -> P:
    with explained(str(folder), _FOLDER):
        encoder = form.from_pretrained(
            folder,
            dtype=dtype,
            variant=weight_files(folder).variant,
            local_files_only=True,
            use_safetensors=True,
        )
    return _own(encoder, folder, "text encoder")


def _vae(place: Path, reading: _Reading) -> AutoencoderKL:
    """The library's own reading knows the names that were usual over the years."""
    given: dict[str, Any] = {"torch_dtype": reading.dtype, "local_files_only": True}
    with explained(str(place), "give a VAE of SDXL: a folder with its config.json, or a .safetensors file"):
        if not place.is_dir():
            configs = {"config": str(reading.configs), "subfolder": "vae"}
            weight_keys(place)
            vae = AutoencoderKL.from_single_file(str(place), **configs, **given)
        else:
            folder = place if (place / "config.json").is_file() else place / "vae"
            variant = weight_files(folder).variant
            vae = AutoencoderKL.from_pretrained(folder, variant=variant, use_safetensors=True, **given)
    return _own(vae, place, "VAE").eval()


def _unet(place: Path, reading: _Reading) -> UNet2DConditionModel:
    """A folder's, or of a file in either layout, which the base's config describes."""
    if place.is_dir():
        folder = place if (place / "config.json").is_file() else place / "unet"
        return load_network(UNet2DConditionModel, folder, reading.dtype)
    folder = reading.configs / "unet"
    with explained(str(folder), _FOLDER):
        config = cast(dict[str, Any], UNet2DConditionModel.load_config(folder, local_files_only=True))
    stored = {name: Stored(place, name) for name in weight_keys(place)}
    if any(name.startswith(ORIGINAL["unet"]) for name in stored):
        stored = cast(
            dict[str, Stored], convert_ldm_unet_checkpoint(stored, config)
        )  # it only gives new names
    return filled(UNet2DConditionModel, config, stored, reading.dtype)


N = TypeVar("N", bound=torch.nn.Module)


def _own(network: N, place: Path, name: str) -> N:
    """The network in memory of its own, once it is sure that it is whole."""
    if any(tensor.is_meta for tensor in network.parameters()):
        raise InputError(f"{place}: lacks weights of the {name.replace('_', ' ')}; {_COPY}")
    take_out_of_files(network)
    return network


def _check_original(path: Path, changes: Changes) -> None:
    """A single file is SDXL's base and has all components that nothing else takes the place of."""
    keys = weight_keys(path)
    lacking = [name for name, prefix in ORIGINAL.items() if not any(key.startswith(prefix) for key in keys)]
    lacking = [name for name in lacking if getattr(changes, name, None) is None]
    if not lacking:
        return
    for mark, said in OTHERS.items():
        if any(mark in key for key in keys):
            raise InputError(f"{path}: {said}")
    remedy = {"unet": "pass one as --unet", "vae": "pass one as --vae"}.get(
        lacking[0], "give a whole checkpoint"
    )
    prefix = ORIGINAL[lacking[0]]
    raise InputError(f"{path}: holds no {lacking[0].replace('_', ' ')} (no tensor {prefix}*); {remedy}")


def _configs(path: Path, given: Path | None) -> Path:
    """The folder that describes a single file."""
    for folder in (given, assets_root() / "sdxl"):
        if folder is not None and (folder / INDEX).is_file():
            return folder
    from huggingface_hub import snapshot_download

    with explained(
        str(path),
        "a single file has no configs: fetch them with `diffpc assets fetch sdxl`, or give a folder",
    ):
        return Path(snapshot_download(REPOSITORY, allow_patterns=["*.json", "*/*.json", "*/*.txt"]))
