"""The machine: what it is, how fast it multiplies matrices, how many FLOP a piece of work has."""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

PACKAGES = ("torch", "diffusers", "transformers", "accelerate")

MATRIX_SIDE = {"cpu": 1024, "cuda": 8192}
"""Large enough to reach the device's rate, small enough to take milliseconds."""

Shape = tuple[int, ...]


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(output: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(output, query, key, value)


UNCOUNTED: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Operators that torch's counter does not know: attention on the CPU."""


@dataclass(frozen=True)
class Machine:
    """What the figures depend on beside the code."""

    device: str
    """Name of the GPU or the processor."""
    threads: int
    """Of torch on the CPU."""
    versions: dict[str, str]


def describe(device: torch.device) -> Machine:
    """The machine that the device is in."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {platform.machine()}"
    versions = {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}
    if on_gpu:
        versions["cuda"] = str(torch.version.cuda)
    return Machine(name, torch.get_num_threads(), versions)


def finish(device: torch.device) -> None:
    """Wait until the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clear(device: torch.device) -> None:
    """Free what nobody uses any more, and count peak memory anew where it can be."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of a piece of work, the device's part of it included."""
    finish(device)
    started = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - started


def matrix_rate(
    device: torch.device, dtype: torch.dtype, side: int | None = None, products: int = 10
) -> float:
    """FLOP/s of square matrix products.

    Args:
        device: where.
        dtype: of the matrices; they are random: zeros would let a GPU run faster.
        side: rows and columns; None chooses by device.
        products: how many are timed together.
    """
    side = side or MATRIX_SIDE[device.type]
    first, second = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def multiply() -> None:
        for _ in range(products):
            torch.mm(first, second)

    multiply()
    return products * 2 * side**3 / seconds(multiply, device)


def flops(work: Callable[[], object]) -> int:
    """FLOP of all matrix products, convolutions and attentions in a piece of work, backward passes included.

    A multiply-add counts as 2. The shapes are those of the layers as they are called.
    """
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        work()
    return counter.get_total_flops()
