"""A training run -> an adapter's file or a whole model: the work of `diffpc export`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import ConfigMixin
from torch import Tensor, nn

from diffpc.adapter_file import ADAPTER, OPTIONAL, SUFFIX, save_adapter
from diffpc.errors import InputError, UsageError
from diffpc.files import atomic_path
from diffpc.libraries import quiet
from diffpc.loading import DTYPES, INDEX
from diffpc.pipeline import DiffPCPipeline
from diffpc.settings import from_dict
from diffpc.train import checkpoint
from diffpc.train.build import build_pipeline
from diffpc.train.settings import ExportSettings, Recipe
from diffpc.train.stages import trained_modules
from diffpc.types import Say
from diffpc.weights import check_state

HELPERS = {"discriminator"}
"""Trained networks that are no part of a model."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    output: str
    images: int
    """Images seen by the weights."""
    averaged: bool
    """Whether the weights are moving averages."""
    precision: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run kept."""

    place: Path
    """For messages."""
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def export(run: Path, output: Path, settings: ExportSettings, say: Say) -> Exported:
    """Write what a run trained.

    Args:
        run: folder of `diffpc train`.
        output: if it ends in .safetensors, the adapter alone; else the folder of a whole model.
        settings: what, and in what form.
        say: takes news.

    Raises:
        UsageError: if the output exists, or adapter and base do not fit.
        InputError: for missing or broken files, or weights that the number type cannot hold.
    """
    _check_output(output, settings.force)
    found = read_checkpoint(run, settings.checkpoint, say)
    recipe = recipe_of(found)
    if output.suffix == SUFFIX and recipe.stage != "adapter":
        raise UsageError(
            f"{output}: a run of stage {recipe.stage!r} makes no adapter that stands alone; name a folder for "
            "the whole model"
        )
    if recipe.stage == "critic":
        raise UsageError(
            f"{run}: a critic is no model; pass the run to diffpc train tiny_obey as --critic {run}"
        )
    averaged = not settings.raw and recipe.loop.ema_images > 0
    if not averaged and not settings.raw:
        say("the run keeps no averages; the weights are those of the last step")
    with quiet():
        pipeline = build_pipeline(recipe, *_origin(found, settings))
        put_weights(trained_modules(recipe.stage, pipeline), found, averaged)
        if recipe.stage == "obey":  # one branch has learnt what guidance did in two
            pipeline.register_to_config(defaults={**dict(pipeline.config["defaults"]), "guidance": 1.0})
        _write(pipeline, output, settings.precision)
    files = [path for path in (output, *output.rglob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return Exported(str(output), int(found.state["images"]), averaged, settings.precision, size)


def read_checkpoint(run: Path, images: int | None, say: Say) -> Checkpoint:
    """The newest whole checkpoint of a run, or the one for `images` seen.

    Raises:
        InputError: if there is none, or it is damaged.
    """
    if images is not None:
        return Checkpoint(run, *checkpoint.load_at(run, images))
    found = checkpoint.load_latest(run)
    if found is None:
        raise InputError(f"{run}: holds no checkpoint; give the --output of `diffpc train`")
    tensors, state, messages = found
    for message in messages:
        say(message)
    return Checkpoint(run, tensors, state)


def recipe_of(found: Checkpoint) -> Recipe:
    """The recipe of the run, as far as it shapes the weights.

    Raises:
        InputError: if it was written by another version.
    """
    values = _settings(found)
    known = {field.name for field in fields(Recipe)}
    try:
        return from_dict(Recipe, {name: value for name, value in values.items() if name in known}, "recipe")
    except UsageError as error:
        raise InputError(f"{found.place}: {error}; use the diffpc that trained it") from error


def put_weights(modules: Mapping[str, nn.Module], found: Checkpoint, averaged: bool) -> None:
    """Fill the networks, all their parameters and buffers, from a checkpoint.

    Raises:
        InputError: if weights or averages are missing, left over or of other shapes.
    """
    kinds = {
        kind: {
            name: value
            for name, value in _of_kind(found.tensors, kind).items()
            if name.split(".", 1)[0] not in HELPERS
        }
        for kind in ("weight", "average", "buffer")
    }
    lacking = len(kinds["weight"].keys() - kinds["average"].keys())
    if averaged and lacking:
        raise InputError(
            f"{found.place}: averages of {lacking} of {len(kinds['weight'])} weights are missing; pass --raw, "
            "or another --checkpoint"
        )
    state = kinds["average" if averaged else "weight"] | kinds["buffer"]
    states = {name: module.state_dict() for name, module in modules.items()}
    check_state(
        state, {f"{name}.{key}": one[key] for name, one in states.items() for key in one}, found.place
    )
    for name, module in modules.items():
        module.load_state_dict({key: state[f"{name}.{key}"] for key in states[name]})


def _check_output(output: Path, force: bool) -> None:
    """Nothing is replaced unasked, and nothing at all that is no model."""
    if not output.exists():
        return
    if not force:
        raise UsageError(f"{output}: exists; pass --force to replace it, or choose another name")
    replaceable = output.is_file() if output.suffix == SUFFIX else (output / INDEX).is_file()
    if not replaceable:
        raise UsageError(f"{output}: exists and is no model; choose another name")


def _settings(found: Checkpoint) -> dict[str, Any]:
    values = found.state.get("settings")
    if not isinstance(values, dict) or not isinstance(cast(dict[str, Any], values).get("base"), str):
        raise InputError(
            f"{found.place}: its checkpoint is not of `diffpc train`; give a folder of such a run"
        )
    return cast(dict[str, Any], values)


def _origin(found: Checkpoint, settings: ExportSettings) -> tuple[str, str | None]:
    """Base and adapter that the run began with; without the adapter its forms would not be known."""
    values = _settings(found)
    start = values.get("start_from")
    return settings.base or values["base"], (settings.start_from or start) if start else None


def _of_kind(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    prefix = f"{kind}/"
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _write(pipeline: DiffPCPipeline, output: Path, precision: str) -> None:
    alone = output.suffix == SUFFIX
    names = (*ADAPTER, *OPTIONAL) if alone else tuple(pipeline.components)
    for name in names:
        network = getattr(pipeline, name)
        if isinstance(network, nn.Module):
            _check_range(network, name, precision)
            nn.Module.to(network, dtype=DTYPES[precision])
            _forget_origin(network)
    if alone:
        save_adapter(pipeline, output)
        return
    with atomic_path(output) as temporary:
        pipeline.save_pretrained(temporary)


def _forget_origin(network: nn.Module) -> None:
    """The library would write into the model where on this machine a part of it came from."""
    if isinstance(network, ConfigMixin):
        network.register_to_config(_name_or_path="")


def _check_range(network: nn.Module, name: str, precision: str) -> None:
    """What is too large would become infinite."""
    most = torch.finfo(DTYPES[precision]).max
    for key, value in network.state_dict().items():
        largest = value.abs().max().item() if value.numel() else 0.0
        if not largest <= most:
            raise InputError(
                f"{name}.{key} has the value {largest:g}, and {precision} goes to {most:g}; choose another "
                "--precision or --checkpoint"
            )
