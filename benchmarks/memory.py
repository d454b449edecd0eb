"""Seconds, memory and fidelity of the modes of `--memory`, and the weights of every part on paper.

    python -m benchmarks.memory --output benchmarks/results/memory-tiny-cpu.json
    python -m benchmarks.memory --preset sdxl --output memory-sdxl.json            # with a GPU
    python -m benchmarks.memory --preset sdxl --paper --output memory-sdxl.json    # anywhere: nothing is run

Weights are random. Every mode is a process of its own; a picture is denoised and decoded from random conditions, and
compared with that of the plain mode.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from diffpc.bench.device import describe, finish
from diffpc.bench.figures import write_json
from diffpc.bench.parts import awaken
from diffpc.diffusion.adapter import build_adapter
from diffpc.diffusion.backbone import build
from diffpc.diffusion.sample import Conditions, SampleSettings, denoise, initial_noise
from diffpc.files import asset
from diffpc.loading import BUNDLED, chosen_device, chosen_dtype
from diffpc.memory import OFFLOAD, SMALLER, placed, quantised
from diffpc.pipeline import DiffPCPipeline
from diffpc.presets import PRESETS
from diffpc.types import Image

PLAIN = "plain"

STORED = 2
"""Bytes per number on paper: bfloat16."""


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    output: Path
    """JSON file."""
    preset: Literal["tiny", "sdxl"] = "tiny"
    """Size of the model."""
    device: str | None = None
    """cpu, cuda, ...; default: the GPU if there is one."""
    dtype: str | None = None
    """Default: bfloat16 on a GPU, else float32."""
    steps: int = 8
    """Per picture."""
    paper: bool = False
    """Only count the weights."""


@dataclass(frozen=True)
class Measured:
    """One mode."""

    seconds: float
    """Of the second picture."""
    weights_bytes: int
    """As they are stored."""
    peak_bytes: int
    """On a GPU the most that torch held there, else the most memory of the process."""
    picture: Image


def random_pipeline(preset: str, dtype: torch.dtype) -> DiffPCPipeline:
    """A whole model on the CPU; the tokenizer is the bundled model's, whose tokens every vocabulary has."""
    settings = PRESETS[preset]()
    torch.manual_seed(0)
    base = build(settings.backbone)
    adapter = build_adapter(settings.adapter, base.unet)
    tokenizer = CLIPTokenizer.from_pretrained(asset(BUNDLED) / "tokenizer")
    for network in (*base.networks().values(), base.vae, *adapter.values()):
        awaken(nn.Module.to(network, dtype=dtype)).eval().requires_grad_(False)
    parts: dict[str, Any] = {name: network for name, network in base.networks().items()} | adapter
    return DiffPCPipeline(
        vae=base.vae, tokenizer=tokenizer, tokenizer_2=tokenizer, scheduler=base.scheduler, **parts
    )


def measure(mode: str, settings: Settings) -> Measured:
    """Draw two pictures in a mode."""
    device = chosen_device(settings.device)
    pipeline = random_pipeline(settings.preset, chosen_dtype(settings.dtype, device))
    pipeline.set_progress_bar_config(disable=True)
    placed(pipeline, device, () if mode == PLAIN else (mode,))
    picture = draw(pipeline, settings.steps)
    began = time.perf_counter()
    draw(pipeline, settings.steps)
    finish(device)
    seconds = time.perf_counter() - began
    weights = sum(_bytes(part) for part in pipeline.components.values() if isinstance(part, nn.Module))
    return Measured(round(seconds, 3), weights, _peak(device), picture)


@torch.no_grad()
def draw(pipeline: DiffPCPipeline, steps: int) -> Image:
    """A picture from random identity tokens and a random I_3d."""
    size, device, dtype = pipeline.default_size, pipeline._execution_device, pipeline.unet.dtype  # pyright: ignore[reportPrivateUsage] - the library's
    channels, side = int(pipeline.unet.config["in_channels"]), int(pipeline.unet.config["sample_size"])
    noise = initial_noise((channels, side, side), [0, 1])
    tokens = initial_noise((1, 32, int(pipeline.unet.config["cross_attention_dim"])), [2])[0]
    text = pipeline.encode_prompt("a portrait photo", 1)
    conditions = Conditions(text, tokens.to(device, dtype), noise[1:].to(device, dtype))
    sampling = SampleSettings(steps, size=size, seeds=(0,))
    latents = denoise(pipeline.networks, conditions, None, noise[:1].to(device), sampling)
    picture = pipeline.decode(latents)[0]
    pipeline.maybe_free_model_hooks()
    return picture


def paper(preset: str) -> dict[str, int]:
    """Bytes of each part's weights in bfloat16."""
    settings = PRESETS[preset]()
    with torch.device("meta"):
        base = build(settings.backbone)
        parts = {**base.networks(), "vae": base.vae, **build_adapter(settings.adapter, base.unet)}
    return {name: STORED * sum(one.numel() for one in part.parameters()) for name, part in parts.items()}


def paper_int8(preset: str) -> dict[str, int]:
    """The same of the two networks of which int8 keeps most as whole numbers, with a float32 for each row."""
    settings = PRESETS[preset]()
    with torch.device("meta"):
        base = build(settings.backbone)
        parts = {"unet": base.unet, "id_ctrl": build_adapter(settings.adapter, base.unet)["id_ctrl"]}
    return {name: _int8_bytes(part) for name, part in parts.items()}


def _int8_bytes(network: nn.Module) -> int:
    chosen = [one.get_parameter("weight") for name, one in network.named_modules() if quantised(one, name)]
    numbers, rows = sum(one.numel() for one in chosen), sum(one.shape[0] for one in chosen)
    return numbers + 4 * rows + STORED * (sum(one.numel() for one in network.parameters()) - numbers)


def psnr(found: Image, wanted: Image) -> float | None:
    """Decibels; None: the pictures are equal."""
    error = ((found.astype(float) - wanted) ** 2).mean()
    return None if error == 0 else round(float(10 * torch.log10(torch.tensor(255**2 / error))), 2)


def run(settings: Settings) -> dict[str, Any]:
    """Measure what the device can do; returns what it wrote."""
    device = chosen_device(settings.device)
    content: dict[str, Any] = {
        "machine": asdict(describe(device)),
        "settings": {**asdict(settings), "output": settings.output.name},
        "weights_on_paper_bytes": paper(settings.preset),
        "int8_weights_on_paper_bytes": paper_int8(settings.preset),
        "modes": {},
    }
    modes = () if settings.paper else _modes(device)
    spawn, plain = multiprocessing.get_context("spawn"), None
    for mode in modes:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            found = pool.submit(measure, mode, settings).result()
        plain = found.picture if plain is None else plain
        entry = {name: getattr(found, name) for name in ("seconds", "weights_bytes", "peak_bytes")}
        content["modes"][mode] = entry | {"psnr_to_plain": psnr(found.picture, plain)}
    write_json(settings.output, content)
    return content


def _modes(device: torch.device) -> tuple[str, ...]:
    """What the device can do with the packages that are here."""
    smaller = [mode for mode in SMALLER if mode != "int8" or find_spec("torchao")]
    return (PLAIN, *smaller, *(() if device.type == "cpu" else OFFLOAD))


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _bytes(network: nn.Module) -> int:
    tensors: list[Tensor] = [*network.parameters(), *network.buffers()]
    return sum(_stored(tensor) for tensor in tensors)


def _stored(tensor: Tensor) -> int:
    """Bytes of a tensor, or of those that it is made of: whole numbers and scales."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return tensor.nbytes
    names, _ = cast(Any, tensor).__tensor_flatten__()
    return sum(getattr(tensor, name).nbytes for name in names)


def main() -> int:
    """The command."""
    import tyro

    content = run(tyro.cli(Settings, description=__doc__))
    for name, found in content["weights_on_paper_bytes"].items():
        sys.stdout.write(f"{name}: {found / 2**20:.0f} MiB in bfloat16, on paper\n")
    for name, found in content["int8_weights_on_paper_bytes"].items():
        sys.stdout.write(f"{name}: {found / 2**20:.0f} MiB in int8, on paper\n")
    for mode, found in content["modes"].items():
        alike = "equal" if found["psnr_to_plain"] is None else f"{found['psnr_to_plain']:.1f} dB"
        sys.stdout.write(
            f"{mode}: {found['seconds']:.2f} s, weights {found['weights_bytes'] / 2**20:.0f} MiB, "
            f"peak {found['peak_bytes'] / 2**20:.0f} MiB, {alike}\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
