"""A model's name, a base, LoRAs, a device -> a pipeline ready to draw; every fault found is one line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ModelMixin

from diffpc.adapter_file import ADAPTER, OPTIONAL, StoredAdapter, describe_adapter, read_adapter
from diffpc.diffusion.fit import check_fit
from diffpc.errors import InputError, UsageError
from diffpc.eyes import Eyes
from diffpc.libraries import explained, quiet
from diffpc.loras import activate, add_loras
from diffpc.pipeline import DiffPCPipeline
from diffpc.settings import FaceSettings, from_dict
from diffpc.weights import asset, sha256, weight_keys

BUNDLED = "tiny"
"""Name of the model that ships with the package."""

INDEX = "model_index.json"
"""Marks a folder that `save_pretrained` wrote."""

BASE = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet")
"""The base's components; its scheduler is made anew from its noise schedule."""

_SAVED = "give a folder that DiffPCPipeline.save_pretrained wrote"

ALIGNMENT = 64
"""Bytes; torch's own memory begins at multiples of it."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_pipeline(
    model: str = BUNDLED,
    base: str | None = None,
    loras: Sequence[Path] = (),
    device: str | None = None,
    dtype: str | None = None,
    idle: Mapping[str, Sequence[Path]] | None = None,
) -> DiffPCPipeline:
    """A pipeline on its device.

    Args:
        model: "tiny", a folder that `save_pretrained` wrote, a file that `save_adapter` wrote, or a name on
            the hub.
        base: an SDXL checkpoint (a folder, one .safetensors file, or a name on the hub) that replaces the
            model's own base; the adapter stays the model's.
        loras: LoRA files for the base, all at weight 1.
        device: see `chosen_device`.
        dtype: see `chosen_dtype`.
        idle: more LoRA files for the base, by the prefix of their adapters' names; see `loras.activate`.

    Raises:
        UsageError: for an unknown name, device or type, or a base of other sizes than the adapter's.
        InputError: for missing or broken files.
    """
    place = chosen_device(device)
    kind = chosen_dtype(dtype, place)
    source = model_place(model)
    with quiet():
        other = load_base(base, kind, source) if base else None
        pipeline = load_adapter(source, other) if other else _whole_model(source, kind)
        if place.type == "cpu":
            _take_out_of_files(pipeline)
        groups = {"lora": loras, **(idle or {})}
        names = {prefix: add_loras(pipeline, files, prefix) for prefix, files in groups.items() if files}
        if names:
            activate(pipeline, names.get("lora", []))
    return pipeline.to(place)


def load_eyes(model: str = BUNDLED) -> Eyes:
    """What looks at faces for a model, without the networks that draw.

    Raises:
        UsageError: if the name is unknown.
        InputError: if the model is broken.
    """
    place = model_place(model)
    faces = describe_adapter(place).faces if place.is_file() else _json(place / INDEX).get("faces", {})
    return Eyes(from_dict(FaceSettings, faces, "faces"))


def chosen_device(name: str | None = None) -> torch.device:
    """The device of that name; None is the GPU if there is one.

    Raises:
        UsageError: if it is unknown, or this machine has none.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdecimal()):
        raise UsageError(f"unknown device {name!r}; choose cpu, cuda, cuda:N or mps")
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(number or 0) >= here:
        remedy = f"choose one of the {here}" if here else "pass --device cpu"
        raise UsageError(f"device {name!r} is not available on this machine; {remedy}")
    return torch.device(name)


def chosen_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The networks' number type; None is bfloat16 on CUDA and float32 elsewhere.

    Raises:
        UsageError: if it is unknown, or the device cannot compute with it.
    """
    if name is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise UsageError(f"unknown dtype {name!r}; choose one of: {', '.join(DTYPES)}")
    if name == "float16" and device.type == "cpu":
        raise UsageError("float16 does not run on the cpu; pass --dtype bfloat16 or float32")
    return DTYPES[name]


def model_place(model: str) -> Path:
    """Where a model or an adapter lies, checked: all its parts are there and no weight file is cut short.

    Raises:
        UsageError: if the name is unknown.
        InputError: if parts are missing or broken, or the hub cannot be reached.
    """
    place = place_of(model)
    if place.is_file():
        describe_adapter(place)
        return place
    components = _components(place / INDEX)
    for name in (*BASE, *ADAPTER):
        if name not in components:
            raise InputError(f"{place / INDEX}: names no {name}; {_SAVED}")
    _check_parts(place, components)
    return place


def place_of(name: str) -> Path:
    """The bundled model's folder, the folder or file of that name, or the copy of the hub's repository.

    Raises:
        UsageError: if it can be none of them.
        InputError: if it is not there.
    """
    if name == BUNDLED:
        return asset(BUNDLED)
    path = Path(name).expanduser()
    if path.exists():
        return path
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        if "/" in name:
            raise InputError(f"{name}: no such file or folder; check the path")
        raise UsageError(f"unknown model {name!r}; choose {BUNDLED}, a folder, or OWNER/NAME on the hub")
    with explained(name, "no such folder, and not reachable on the hub: check the name and the network"):
        return Path(str(DiffPCPipeline.download(name, use_safetensors=True)))


def native_size(place: Path) -> tuple[int, int] | None:
    """Width, height in pixels that a model draws by default; None for an adapter alone."""
    unet, vae = (place / part / "config.json" for part in ("unet", "vae"))
    if not unet.is_file() or not vae.is_file():
        return None
    side, levels = _json(unet).get("sample_size"), _json(vae).get("block_out_channels")
    if not isinstance(side, int) or not isinstance(levels, list):
        return None
    pixels = side * 2 ** (len(cast(list[int], levels)) - 1)
    return pixels, pixels


def weight_hashes(folder: Path) -> dict[str, str]:
    """Path below the folder -> sha256 of every weight file in it; of a single file, its name -> sha256."""
    if folder.is_file():
        return {folder.name: sha256(folder)}
    return {
        path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*.safetensors"))
    }


def load_adapter(place: Path | str, base: DiffusionPipeline) -> DiffPCPipeline:
    """The adapter of a model on a base of SDXL's layout.

    Args:
        place: a file that `save_adapter` wrote, or the folder of a whole model.
        base: its components are used, not copied.

    Raises:
        UsageError: if the base has other sizes than the adapter's.
        InputError: if the file or folder is incomplete or broken.
    """
    place = Path(place)
    found = (_adapter_of if place.is_dir() else read_adapter)(place, base.unet.dtype)
    check_fit(found.parts, base.unet)
    return on_base(base, found.parts, found.faces, found.defaults)


def on_base(
    base: DiffusionPipeline,
    adapter: Mapping[str, ModelMixin],
    faces: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> DiffPCPipeline:
    """An adapter on a base of SDXL's layout, whose components are used, not copied.

    Args:
        base: its scheduler is made anew from its noise schedule.
        adapter: its networks by the names of the pipeline's components.
        faces: see `DiffPCPipeline`.
        defaults: see `DiffPCPipeline`.
    """
    scheduler = DDIMScheduler.from_config(
        base.scheduler.config, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True
    )
    parts: dict[str, Any] = {name: getattr(base, name) for name in BASE} | dict(adapter)
    parts |= {"scheduler": scheduler, "faces": dict(faces), "defaults": dict(defaults)}
    return DiffPCPipeline(**parts)


def load_base(base: str, dtype: torch.dtype, configs: Path | None = None) -> DiffusionPipeline:
    """An SDXL checkpoint.

    Args:
        base: a folder in diffusers' layout, one .safetensors file, a name on the hub, or "tiny".
        dtype: of the networks.
        configs: where a model lies; a folder's configs describe a single file, so that the hub is not needed.

    Raises:
        UsageError: if the name is unknown.
        InputError: if it is broken or out of reach.
    """
    from diffusers import StableDiffusionXLPipeline  # seconds to import, and seldom needed

    path = place_of(base)
    if path.is_file():
        weight_keys(path)
        whole = configs is not None and (configs / "unet").is_dir()
        described = {"config": str(configs), "local_files_only": True} if whole else {}
        with explained(base, "give an SDXL checkpoint; without network use a folder in diffusers' layout"):
            return StableDiffusionXLPipeline.from_single_file(str(path), dtype=dtype, **described)
    _check_parts(path, (*BASE, "scheduler"))
    with explained(base, "give a folder in diffusers' layout of SDXL"):
        return StableDiffusionXLPipeline.from_pretrained(
            path, dtype=dtype, local_files_only=True, use_safetensors=True
        )


def _whole_model(folder: Path, dtype: torch.dtype) -> DiffPCPipeline:
    if folder.is_file():
        raise UsageError(
            f"{folder}: holds an adapter alone; pass --base with the SDXL checkpoint to use it on"
        )
    with explained(str(folder), _SAVED):
        pipeline = DiffPCPipeline.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    for name in _adapter_names(pipeline.config):
        _check_keys(folder / name, getattr(pipeline, name))
    return pipeline


def _adapter_names(index: Mapping[str, Any]) -> list[str]:
    """The adapter's components, by an index as `save_pretrained` writes it."""
    return [*ADAPTER, *(name for name in OPTIONAL if _is_component(index.get(name)))]


def _adapter_of(folder: Path, dtype: torch.dtype) -> StoredAdapter:
    """A whole model's."""
    index = _json(folder / INDEX)
    names = _adapter_names(index)
    _check_parts(folder, names)
    parts = {name: _adapter_part(folder, name, dtype) for name in names}
    return StoredAdapter(parts, index.get("faces", {}), index.get("defaults", {}))


def _adapter_part(folder: Path, name: str, dtype: torch.dtype) -> ModelMixin:
    config = folder / name / "config.json"
    forms = {form.__name__: form for form in (ADAPTER | OPTIONAL)[name]}
    form = _json(config).get("_class_name")
    if form not in forms:
        raise InputError(
            f"{config}: is of {form!r}, expected one of: {', '.join(forms)}; use the diffpc it is from"
        )
    with explained(str(folder / name), _SAVED):
        part = forms[form].from_pretrained(
            folder, subfolder=name, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    _check_keys(folder / name, part)
    return part.eval()


def _check_keys(folder: Path, module: torch.nn.Module) -> None:
    """The library fills what a file lacks with random numbers; an adapter must be whole."""
    files = sorted(folder.glob("*.safetensors"))
    lacking = sorted(set(module.state_dict()) - {key for path in files for key in weight_keys(path)})
    if lacking:
        raise InputError(
            f"{files[0]}: lacks {len(lacking)} weights of the model ({lacking[0]}); download or copy it again"
        )


def _take_out_of_files(pipeline: DiffPCPipeline) -> None:
    """Copy weights that lie in mapped files, at odd addresses, where products add in another order.

    So a portrait does not depend on how the weights are split into files.
    """
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    for network in networks:
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.data_ptr() % ALIGNMENT:
                tensor.data = tensor.data.clone()


def _components(index: Path) -> dict[str, Any]:
    if not index.is_file():
        raise InputError(
            f"{index.parent}: holds no model (no {INDEX}); give a folder that save_pretrained wrote"
        )
    return {key: value for key, value in _json(index).items() if _is_component(value)}


def _is_component(value: Any) -> bool:
    """Library and class; both are none for an optional component that is not there."""
    return isinstance(value, list | tuple) and any(cast(Sequence[Any], value))


def _check_parts(folder: Path, components: Iterable[str]) -> None:
    """Every component has its folder, every network its weights, and no weight file is cut short."""
    for name in components:
        part = folder / name
        if not part.is_dir():
            raise InputError(f"{part}: is missing; download or copy the model again")
        files = sorted(part.glob("*.safetensors"))
        if not files and not name.startswith(("tokenizer", "scheduler")):
            raise InputError(f"{part}: has no .safetensors file; download or copy the model again")
        for path in files:
            weight_keys(path)


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); download or copy it again") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: is not a JSON object; download or copy it again")
    return cast(dict[str, Any], values)
