"""LoRA files on a pipeline's base: loaded under names of their own, made active and idle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diffusers.utils.peft_utils import set_adapter_layers

from diffpc.backends import require
from diffpc.errors import InputError
from diffpc.libraries import explained
from diffpc.pipeline import DiffPCPipeline
from diffpc.weights import weight_keys

PARTS = ("unet", "text_encoder", "text_encoder_2")
"""The base's networks that a LoRA changes."""

_REMEDY = "give a LoRA made for the base"


def adapter_names(prefix: str, files: Sequence[Path]) -> list[str]:
    """The names under which `add_loras` loads these files."""
    return [f"{prefix}_{number}" for number in range(len(files))]


def add_loras(pipeline: DiffPCPipeline, files: Sequence[Path], prefix: str) -> list[str]:
    """Load LoRA files; `activate` says which of all that are loaded are drawn with.

    Args:
        pipeline: whose base they are for.
        files: .safetensors.
        prefix: of the adapters' names; no other files have it.

    Returns:
        The adapters' names, in the order of the files.

    Raises:
        UsageError: if peft is not installed.
        InputError: if a file is missing, holds no LoRA, or one for another base.
    """
    require("peft", "lora")
    names = adapter_names(prefix, files)
    for name, path in zip(names, files, strict=True):
        if not any("lora" in key for key in weight_keys(path)):
            raise InputError(f"{path}: holds no LoRA weights; {_REMEDY}")
        with explained(str(path), _REMEDY):
            pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
        if not any(name in found for found in pipeline.get_list_adapters().values()):
            raise InputError(f"{path}: none of its weights belong to this base; {_REMEDY}")
    return names


def activate(pipeline: DiffPCPipeline, names: Sequence[str], weights: Sequence[float] = ()) -> None:
    """Draw with exactly these adapters; with none it is the base alone, bit for bit.

    Args:
        pipeline: which has loaded them.
        names: of the adapters.
        weights: one per name; none: all 1.
    """
    # The library's own `disable_lora` refuses where one of the networks has no LoRA.
    for part in PARTS:
        set_adapter_layers(getattr(pipeline, part), enabled=bool(names))
    if names:
        pipeline.set_adapters(list(names), list(weights) or None)
