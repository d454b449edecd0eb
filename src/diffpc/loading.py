"""A model's name, a base, what changes it, a device -> a pipeline ready to draw; every fault found is one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, LCMScheduler, ModelMixin

from diffpc.adapter_file import ADAPTER, OPTIONAL, StoredAdapter, describe_adapter, read_adapter
from diffpc.base import BASE, check_parts
from diffpc.base import load_base as load_base
from diffpc.changes import Changes, ModelOptions
from diffpc.diffusion.fit import check_fit
from diffpc.distilled import Schedule, chosen_schedule
from diffpc.errors import InputError, UsageError
from diffpc.eyes import Eyes
from diffpc.libraries import quiet
from diffpc.loras import activate, add_loras
from diffpc.memory import check_modes, placed
from diffpc.networks import load_network
from diffpc.pipeline import DiffPCPipeline
from diffpc.places import BUNDLED as BUNDLED
from diffpc.places import INDEX, read_object
from diffpc.places import model_hashes as model_hashes
from diffpc.places import native_size as native_size
from diffpc.places import place_of as place_of
from diffpc.places import weight_hashes as weight_hashes
from diffpc.settings import FaceSettings, from_dict

SAMPLERS = {"ddim": DDIMScheduler, "lcm": LCMScheduler}
"""`Schedule.sampler` -> its class."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_pipeline(
    model: str = BUNDLED,
    base: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    changes: Changes | None = None,
    memory: Sequence[str] = (),
) -> DiffPCPipeline:
    """A pipeline on its device.

    Args:
        model: "tiny", a folder that `save_pretrained` wrote, a file that `save_adapter` wrote, or a name on
            the hub.
        base: an SDXL checkpoint (a folder, one .safetensors file, or a name on the hub) that replaces the
            model's own base; the adapter stays the model's.
        device: see `chosen_device`.
        dtype: see `chosen_dtype`.
        changes: what of the base is replaced, and LoRAs for it.
        memory: ways to draw with less; see `memory.placed`.

    Raises:
        UsageError: for an unknown name, device or type, a base of other sizes than the adapter's, or changes that
            do not go together.
        InputError: for missing or broken files.
    """
    place, changes = chosen_device(device), changes or Changes()
    kind = chosen_dtype(dtype, place)
    check_modes(memory, place)
    schedule = schedule_of(base, changes)
    source = model_place(model)
    if source.is_file() and base is None:
        raise UsageError(
            f"{source}: holds an adapter alone; pass --base with the SDXL checkpoint to use it on"
        )
    with quiet():
        pipeline = load_adapter(source, load_base(base or model, kind, source, changes))
        if schedule:
            _follow(pipeline, schedule, epsilon=changes.unet is not None)
        _add_loras(pipeline, changes)
    return placed(pipeline, place, memory)


def load_chosen(options: ModelOptions) -> DiffPCPipeline:
    """As `load_pipeline`, of a user's options."""
    return load_pipeline(
        options.model or BUNDLED,
        options.base,
        options.device,
        options.dtype,
        options.changes,
        options.memory,
    )


def weights_of(options: ModelOptions) -> dict[str, str]:
    """What draws under these options, for the record: weight file -> sha256.

    Raises:
        UsageError: as `load_pipeline`.
        InputError: as `load_pipeline`.
    """
    base = place_of(options.base) if options.base else None
    return model_hashes(model_place(options.model or BUNDLED), base, options.changes)


def schedule_of(base: str | None, changes: Changes) -> Schedule | None:
    """What the weights are distilled for, as far as names tell; see `distilled.chosen_schedule`.

    Raises:
        UsageError: as there, or if no weights are named that could be distilled.
    """
    files = [Path(base)] if base else []
    files += [changes.unet] if changes.unet else []
    files += [lora.path for lora in changes.loras]
    if changes.fast and not files:
        raise UsageError(f"--fast {changes.fast} needs its weights; pass them as --unet, --lora or --base")
    return chosen_schedule(changes.fast, files)


def _follow(pipeline: DiffPCPipeline, schedule: Schedule, epsilon: bool) -> None:
    """Draw as distilled weights were made for.

    Args:
        pipeline: with these weights.
        schedule: theirs.
        epsilon: the weights are a whole UNet that predicts noise, whatever the base's did.
    """
    config = dict(pipeline.scheduler.config)
    if config["prediction_type"] != "epsilon" and not epsilon:
        raise UsageError(
            f"{schedule.name} weights are for a base that predicts noise (epsilon), this one has "
            f"{config['prediction_type']}; pass --base with SDXL"
        )
    form = SAMPLERS[schedule.sampler]
    pipeline.scheduler = form.from_config(config, prediction_type="epsilon", rescale_betas_zero_snr=False)
    pipeline.schedule = schedule
    usual = {"steps": schedule.usual, "guidance": schedule.guidance[0]}
    pipeline.register_to_config(defaults={**pipeline.config["defaults"], **usual})


def _add_loras(pipeline: DiffPCPipeline, changes: Changes) -> None:
    files = [lora.path for lora in changes.loras]
    names = {prefix: add_loras(pipeline, found, prefix) for prefix, found in changes.idle.items() if found}
    active = add_loras(pipeline, files, "lora") if files else []
    if active or names:
        activate(pipeline, active, [lora.weight for lora in changes.loras])


def load_eyes(model: str = BUNDLED) -> Eyes:
    """What looks at faces for a model, without the networks that draw.

    Raises:
        UsageError: if the name is unknown.
        InputError: if the model is broken.
    """
    place = model_place(model)
    faces = describe_adapter(place).faces if place.is_file() else read_object(place / INDEX).get("faces", {})
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
    check_parts(place, components)
    return place


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


def _adapter_names(index: Mapping[str, Any]) -> list[str]:
    """The adapter's components, by an index as `save_pretrained` writes it."""
    return [*ADAPTER, *(name for name in OPTIONAL if _is_component(index.get(name)))]


def _adapter_of(folder: Path, dtype: torch.dtype) -> StoredAdapter:
    """A whole model's."""
    index = read_object(folder / INDEX)
    names = _adapter_names(index)
    check_parts(folder, names)
    parts = {name: _adapter_part(folder, name, dtype) for name in names}
    return StoredAdapter(parts, index.get("faces", {}), index.get("defaults", {}))


def _adapter_part(folder: Path, name: str, dtype: torch.dtype) -> ModelMixin:
    config = folder / name / "config.json"
    forms = {form.__name__: form for form in (ADAPTER | OPTIONAL)[name]}
    form = read_object(config).get("_class_name")
    if form not in forms:
        raise InputError(
            f"{config}: is of {form!r}, expected one of: {', '.join(forms)}; use the diffpc it is from"
        )
    return load_network(forms[form], folder / name, dtype)


def _components(index: Path) -> dict[str, Any]:
    if not index.is_file():
        raise InputError(
            f"{index.parent}: holds no model (no {INDEX}); give a folder that save_pretrained wrote"
        )
    return {key: value for key, value in read_object(index).items() if _is_component(value)}


def _is_component(value: Any) -> bool:
    """Library and class; both are none for an optional component that is not there."""
    return isinstance(value, list | tuple) and any(cast(Sequence[Any], value))
