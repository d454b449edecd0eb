"""Ways to draw with less memory: where a pipeline's networks lie, and as which numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers.hooks.layerwise_casting import DEFAULT_SKIP_MODULES_PATTERN

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

SMALLER: dict[str, Callable[[DiffPCPipeline, torch.device], None]] = {"tiling": _tiled, "fp8": _fp8}
"""These change the picture a little."""


def check_modes(modes: Sequence[str], device: torch.device) -> None:
    """Refuse modes that are unknown, exclude each other, or do nothing on the device.

    Raises:
        UsageError: naming them.
    """
    unknown = [mode for mode in modes if mode not in OFFLOAD | SMALLER]
    if unknown:
        raise UsageError(
            f"--memory {unknown[0][:40]}: is unknown; choose from: {', '.join(OFFLOAD | SMALLER)}"
        )
    offload = [mode for mode in modes if mode in OFFLOAD]
    if len(offload) > 1:
        raise UsageError(f"--memory {' '.join(offload)}: exclude each other; choose one of them")
    if offload and device.type == "cpu":
        raise UsageError(
            f"--memory {offload[0]} moves networks between a GPU and the host; "
            f"on the cpu choose from: {', '.join(SMALLER)}"
        )


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
