"""Seconds and host memory of loading an SDXL-size base from one file and from a folder.

    python -m benchmarks.loading --output benchmarks/results/loading-cpu.json
    python -m benchmarks.loading --preset tiny --output loading-tiny.json

It writes random bfloat16 weights below --work (7 GB at SDXL's size, twice while it converts), and removes them in
the end. Every turn is a process of its own.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from diffpc.bench.device import describe
from diffpc.bench.figures import figure, write_json
from diffpc.diffusion.backbone import Backbone, build
from diffpc.files import asset
from diffpc.loading import BUNDLED
from diffpc.presets import PRESETS

Form = Literal["folder", "file"]

TURN = "--turn"
"""First word of a process that loads once; folder or file, configs and type follow."""

SAMPLED = 0.005
"""Seconds between looks at the memory."""


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    output: Path
    """JSON file."""
    work: Path = Path("/tmp")
    """Where the weights are written."""
    preset: Literal["sdxl", "tiny"] = "sdxl"
    """Size of the base."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """What it is loaded as; the files are bfloat16."""
    rounds: int = 3
    """Turns of each form, one after the other."""


def write_folder(preset: str, folder: Path) -> Path:
    """A base with random weights in diffusers' layout; the tokenizer is the bundled model's, whatever the size."""
    with torch.device("meta"):
        parts = build(PRESETS[preset]().backbone)
    for name, network in _networks(parts).items():
        saved = network.config.save_pretrained if name.startswith("text") else network.save_config
        saved(folder / name)
        stem = "model" if name.startswith("text") else "diffusion_pytorch_model"
        state = {key: _random(value) for key, value in network.state_dict().items()}
        save_file(state, folder / name / f"{stem}.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(asset(BUNDLED) / "tokenizer", folder / name)
    parts.scheduler.save_pretrained(folder / "scheduler")
    index = {name: ["diffusers", type(network).__name__] for name, network in _networks(parts).items()}
    index |= {name: ["transformers", "CLIPTokenizer"] for name in ("tokenizer", "tokenizer_2")}
    index |= {name: ["transformers", index[name][1]] for name in ("text_encoder", "text_encoder_2")}
    index["scheduler"] = ["diffusers", "DDIMScheduler"]
    described: dict[str, Any] = {"_class_name": "StableDiffusionXLPipeline", **index}
    (folder / "model_index.json").write_text(json.dumps(described))
    return folder


def write_file(folder: Path, path: Path) -> Path:
    """The same weights in the original layout."""
    from diffpc.base import load_base
    from tests import published

    pipeline: Any = load_base(str(folder), torch.bfloat16)
    state = published.original(pipeline)
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def load_once(place: str, configs: str, dtype: str) -> dict[str, float]:
    """Load, and say what it took; the imports are done before and not counted."""
    from diffpc.base import load_base
    from diffpc.loading import DTYPES

    importlib.import_module("diffusers.pipelines.stable_diffusion_xl")  # seconds, once
    before, peaks = _memory(), _Peaks()
    began, busy = time.perf_counter(), time.process_time()
    base: Any = load_base(place, DTYPES[dtype], Path(configs))
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    peaks.stop()
    weights = sum(_bytes(part) for part in base.components.values() if isinstance(part, nn.Module))
    found = {
        "seconds": seconds,
        "cpu_seconds": busy,
        "weights": weights,
        "before": before["anonymous"] + before["mapped"],
    }
    return found | {f"peak_{name}": value for name, value in peaks.most.items()}


def run(settings: Settings) -> dict[str, Any]:
    """Measure both forms; returns what it wrote."""
    with TemporaryDirectory(dir=settings.work) as name:
        folder, file = Path(name) / "base", Path(name) / "base.safetensors"
        _apart(write_folder, settings.preset, folder)
        _apart(write_file, folder, file)
        turns: dict[str, list[dict[str, float]]] = {"folder": [], "file": []}
        for _ in range(settings.rounds):
            for form, place in (("folder", folder), ("file", file)):
                turns[form].append(_turn(place, folder, settings.dtype))
        sizes = {"folder": sum(path.stat().st_size for path in folder.rglob("*.safetensors"))}
        sizes["file"] = file.stat().st_size
    content = {
        "machine": asdict(describe(torch.device("cpu"))),
        "settings": {**asdict(settings), "output": settings.output.name, "work": settings.work.name},
        "forms": {form: {"bytes_on_disk": sizes[form], **summary(found)} for form, found in turns.items()},
    }
    write_json(settings.output, content)
    return content


def summary(turns: list[dict[str, float]]) -> dict[str, Any]:
    """Figures of one form. Ratios are to the weights in memory, and leave out what was there before."""
    weights, before = turns[0]["weights"], max(turn["before"] for turn in turns)
    most = {name: max(turn[name] for turn in turns) for name in turns[0] if name.startswith("peak_")}
    return {
        "seconds": asdict(figure([turn["seconds"] for turn in turns])),
        "cpu_seconds": asdict(figure([turn["cpu_seconds"] for turn in turns])),
        "weights_bytes": weights,
        "before_bytes": before,
        "peak_bytes": {name.removeprefix("peak_"): value for name, value in most.items()},
        "peak_over_weights": round((most["peak_together"] - before) / weights, 3),
    }


class _Peaks:
    """The most memory of this process while it is watched, by kind."""

    def __init__(self) -> None:
        self.most = dict.fromkeys(("anonymous", "mapped", "together"), 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLED):
            found = _memory()
            found["together"] = found["anonymous"] + found["mapped"]
            self.most = {name: max(value, found[name]) for name, value in self.most.items()}
        self.most["together"] = max(self.most["together"], _status("VmHWM"))


def _memory() -> dict[str, int]:
    """Bytes: own, and pages of mapped files, which the system can take back."""
    return {"anonymous": _status("RssAnon"), "mapped": _status("RssFile")}


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _apart(work: Callable[..., Any], *arguments: Any) -> None:
    """In a process of its own: its memory is free for the turns."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(work, *arguments).result()


def _turn(place: Path, configs: Path, dtype: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.loading", TURN, str(place), str(configs), dtype]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def _networks(parts: Backbone) -> dict[str, Any]:
    return {"vae": parts.vae, **parts.networks()}


def _random(value: Tensor) -> Tensor:
    return torch.empty(value.shape, dtype=torch.bfloat16).normal_(std=0.02)


def _bytes(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in _tensors(network))


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()


def main() -> int:
    """The command."""
    if sys.argv[1:2] == [TURN]:
        sys.stdout.write(json.dumps(load_once(*sys.argv[2:5])) + "\n")
        return 0
    import tyro

    content = run(tyro.cli(Settings, description=__doc__))
    for form, found in content["forms"].items():
        peak = {name: f"{value / 2**30:.2f}" for name, value in found["peak_bytes"].items()}
        sys.stdout.write(
            f"{form}: {found['seconds']['median']:.1f} s, {found['cpu_seconds']['median']:.1f} s of processor time, "
            f"weights {found['weights_bytes'] / 2**30:.2f} GiB, "
            f"peak {peak} GiB, {found['peak_over_weights']:.2f} times the weights\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
