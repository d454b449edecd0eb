"""Ways to draw with less memory: where a pipeline's networks lie, and as which numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from diffusers.hooks.layerwise_casting import DEFAULT_SKIP_MODULES_PATTERN
from torch import nn

from diffpc.backends import require
from diffpc.errors import UsageError
from diffpc.pipeline import DiffPCPipeline

SENSITIVE = (
    *DEFAULT_SKIP_MODULES_PATTERN,
    "^conv_in$",
    "^conv_out$",
    "time_emb",
    "^add_embedding",
    "condition",
)
"""Modules that keep their numbers: norms, what the timestep and I_3d come in by, the first and the last layer."""


def _tiled(pipeline: DiffPCPipeline, _: torch.device) -> None:
    """The VAE sees one picture at a time, and large ones in tiles."""
    pipeline.vae.enable_slicing()
    pipeline.vae.enable_tiling()


def _fp8(pipeline: DiffPCPipeline, _: torch.device) -> None:
    """The two largest networks are kept in 8 bits and compute in the type they were loaded in.

    ID-Injectors and ID-Encoder stay: they are small, and what they modulate shows every error.
    """
    for network in (pipeline.unet, pipeline.id_ctrl):
        network.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=network.dtype, skip_modules_pattern=SENSITIVE
        )


def quantised(module: nn.Module, name: str) -> bool:
    """Whether `--memory int8` has a network's module in 8 bits: matrix products only, and no LoRA's."""
    kept = any(re.search(pattern, name) for pattern in (*SENSITIVE, r"\.lora_[AB]\."))
    return isinstance(module, nn.Linear) and not kept


def _int8(pipeline: DiffPCPipeline, _: torch.device) -> None:
    """The matrices of the two largest networks are kept as whole numbers with a scale per row.

    The library's own hook is for weights that it reads itself; ours come from any file, by `networks.filled`.
    """
    from torchao.quantization import Int8WeightOnlyConfig, quantize_  # an extra, and seconds to import

    config = Int8WeightOnlyConfig(set_inductor_config=False)  # the compiler's settings are not ours alone
    for network in (pipeline.unet, pipeline.id_ctrl):
        quantize_(network, config, filter_fn=quantised)


def _by_model(pipeline: DiffPCPipeline, device: torch.device) -> None:
    """A network comes when it is needed."""
    pipeline.enable_model_cpu_offload(device=device)


def _by_group(pipeline: DiffPCPipeline, device: torch.device) -> None:
    """A layer comes when it is needed, and on CUDA the next one meanwhile."""
    # torch's MultiheadAttention reads weights that no hook brings.
    pipeline.enable_group_offload(
        onload_device=device,
        offload_type="leaf_level",
        use_stream=device.type == "cuda",
        exclude_modules=["id_encoder"],
    )


def _by_layer(pipeline: DiffPCPipeline, device: torch.device) -> None:
    """A layer comes when it is needed; the least memory, and the slowest."""
    pipeline.enable_sequential_cpu_offload(device=device)


OFFLOAD: dict[str, Callable[[DiffPCPipeline, torch.device], None]] = {
    "model": _by_model,
    "group": _by_group,
    "sequential": _by_layer,
}
"""Networks wait in the host's memory; the picture is the same."""

SMALLER: dict[str, Callable[[DiffPCPipeline, torch.device], None]] = {
    "tiling": _tiled,
    "fp8": _fp8,
    "int8": _int8,
}
"""These change the picture a little."""

EXCLUSIVE = (tuple(OFFLOAD), ("fp8", "int8"))
"""Of each at most one: networks lie in one place and have one type."""


def check_modes(modes: Sequence[str], device: torch.device) -> None:
    """Refuse modes that are unknown, exclude each other, or do nothing on the device.

    Raises:
        UsageError: naming them, or the package that one needs.
    """
    unknown = [mode for mode in modes if mode not in OFFLOAD | SMALLER]
    if unknown:
        raise UsageError(
            f"--memory {unknown[0][:40]}: is unknown; choose from: {', '.join(OFFLOAD | SMALLER)}"
        )
    offload = [mode for mode in modes if mode in OFFLOAD]
    for group in EXCLUSIVE:
        if len(both := [mode for mode in dict.fromkeys(modes) if mode in group]) > 1:
            raise UsageError(f"--memory {' '.join(both)}: exclude each other; choose one of them")
    if offload and device.type == "cpu":
        raise UsageError(
            f"--memory {offload[0]} moves networks between a GPU and the host; "
            f"on the cpu choose from: {', '.join(SMALLER)}"
        )
    if "int8" in modes:
        require("torchao", "int8")


def placed(pipeline: DiffPCPipeline, device: torch.device, modes: Sequence[str]) -> DiffPCPipeline:
    """The pipeline on its device, or where the modes put it.

    Args:
        pipeline: on the CPU.
        device: that computes.
        modes: names of OFFLOAD, at most one, and of SMALLER; see `check_modes`.
    """
    for mode in sorted(set(modes) & set(SMALLER)):
        SMALLER[mode](pipeline, device)
    for mode in set(modes) & set(OFFLOAD):
        OFFLOAD[mode](pipeline, device)
        return pipeline
    return pipeline.to(device)
