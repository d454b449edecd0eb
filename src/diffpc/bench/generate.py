"""Seconds per portrait of our pipeline and of diffusers' on the same parts, in turns.

    diffpc bench generate --preset sdxl --device cuda --reference PHOTO --output generate-sdxl.json

Decoded pictures in, uint8 out. In every round each contender draws once, all with the same seed; a ratio is taken
round by round. What is compiled is compiled before the rounds; the first portrait's seconds have it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from diffusers.utils import logging

from diffpc.bench.device import clear, describe, flops, matrix_rate, seconds
from diffpc.bench.drawers import CONTENDERS, Draw, Parts, build_parts
from diffpc.bench.figures import figure, interval, ratio, write_json
from diffpc.bench.settings import GenerateBench
from diffpc.images import read_image
from diffpc.libraries import missing_compiler
from diffpc.loading import chosen_device, chosen_dtype
from diffpc.train.memory import peak_bytes

PAIRS = (
    ("ours_known", "controlnet"),
    ("ours_compiled", "controlnet_compiled"),
    ("ours_compiled", "ours_known"),
    ("controlnet_compiled", "controlnet"),
    ("ours", "ip_adapter"),
)
"""Whose seconds are divided. The last pair alone begins at a photo of the person."""


@dataclass
class Turns:
    """What was measured of one contender."""

    first: float | None = None
    """Seconds of the first portrait: compilers, caches and allocators included."""
    seconds: list[float] = field(default_factory=list)
    """Per call, by the clock."""
    busy: list[float] = field(default_factory=list)
    """On a CPU: processor seconds per call. Others on the machine disturb them less."""
    stages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    flop: int | None = None
    """Per call."""
    peak: int | None = None
    """Bytes on the GPU, all contenders' networks included."""
    missing: str | None = None
    """Why there is nothing."""


def turn(draw: Draw, seed: int, device: torch.device, found: Turns) -> None:
    """One portrait, timed."""
    clear(device)
    stages: dict[str, float] = {}
    busy = time.process_time()
    found.seconds.append(seconds(lambda: stages.update(draw(seed)), device))
    if device.type == "cpu":
        found.busy.append(time.process_time() - busy)
    else:
        found.peak = max(found.peak or 0, peak_bytes(device))
    for stage, value in stages.items():
        found.stages[stage].append(value)


def prepared(name: str, parts: Parts, bench: GenerateBench, found: Turns) -> Draw | None:
    """A contender that is warm; None if it cannot run here."""
    device = parts.backbone.unet.device
    lacking = missing_compiler(device) if name.endswith("_compiled") else None
    if lacking:
        found.missing = f"not available: needs {lacking}"
        return None
    try:
        draw = CONTENDERS[name](parts)
        found.first = seconds(lambda: draw(bench.seed), device)
        for _ in range(bench.warmup - 1):
            draw(bench.seed)
        if not name.endswith(
            "_compiled"
        ):  # its operators cannot be counted; they are those of its eager twin
            found.flop = flops(lambda: draw(bench.seed))
    except torch.OutOfMemoryError:
        found.missing = "out of memory"
        return None
    return draw


def summary(turns: dict[str, Turns], rates: list[float], seed: int) -> dict[str, Any]:
    """Figures of all contenders."""
    rate = figure(rates)
    return {
        "matrix_flop_per_second": asdict(rate),
        "contenders": {name: _entry(found, turns, rate.median, name) for name, found in turns.items()},
        "ratios": _ratios({name: found.seconds for name, found in turns.items()}, seed),
        "cpu_time_ratios": _ratios({name: found.busy for name, found in turns.items()}, seed),
    }


def _entry(found: Turns, turns: dict[str, Turns], rate: float, name: str) -> dict[str, Any]:
    if found.missing or not found.seconds:
        return {"missing": found.missing}
    taken = figure(found.seconds)
    twin = turns.get({"ours_compiled": "ours_known"}.get(name, name.removesuffix("_compiled")))
    flop = found.flop or (twin.flop if twin else None)
    stages = {stage: figure(values).median for stage, values in found.stages.items()}
    return {
        "seconds": asdict(taken),
        "cpu_seconds": asdict(figure(found.busy)) if found.busy else None,
        "first_seconds": found.first,
        "stages": {
            stage: {"seconds": value, "share": value / taken.median} for stage, value in stages.items()
        },
        "flop": flop,
        "share_of_matrix_rate": flop / taken.median / rate if flop else None,
        "peak_bytes": found.peak,
    }


def _ratios(times: dict[str, list[float]], seed: int) -> dict[str, Any]:
    pairs = [pair for pair in PAIRS if all(times.get(name) for name in pair)]
    found = {f"{one} / {other}": ratio(times[one], times[other]) for one, other in pairs}
    return {
        pair: {**asdict(value), "interval_95": interval(value.values, seed)} for pair, value in found.items()
    }


def run(bench: GenerateBench) -> dict[str, Any]:
    """Measure all contenders; returns what it wrote."""
    torch.set_num_threads(bench.threads)
    logging.set_verbosity_error()
    device = chosen_device(bench.device)
    dtype = chosen_dtype(bench.precision, device)
    parts = build_parts(bench, read_image(bench.reference), device, dtype)
    turns = {name: Turns() for name in bench.contenders}
    draws = {name: prepared(name, parts, bench, found) for name, found in turns.items()}
    settings = asdict(parts.settings) | {"dtype": str(dtype).removeprefix("torch.")}
    content: dict[str, Any] = {
        "machine": asdict(describe(device)),
        "settings": {**asdict(bench), "output": bench.output.name, "reference": bench.reference.name},
        "drawn": settings,
    }

    def write(rates: list[float]) -> None:
        write_json(bench.output, content | summary(turns, rates, bench.seed))

    return content | _rounds(bench, draws, turns, (device, dtype), write)


def _rounds(
    bench: GenerateBench,
    draws: dict[str, Draw | None],
    turns: dict[str, Turns],
    place: tuple[torch.device, torch.dtype],
    write: Callable[[list[float]], None],
) -> dict[str, Any]:
    """A B C A B C ...; the matrix rate is taken at the start of every round."""
    until, rates = time.monotonic() + 60 * bench.minutes, list[float]()
    for number in range(bench.rounds):
        if rates and time.monotonic() > until:
            break
        rates.append(matrix_rate(*place))
        for name, draw in draws.items():
            if draw is not None:
                turn(draw, bench.seed + number, place[0], turns[name])
        write(rates)
    return summary(turns, rates, bench.seed)


def lines(content: dict[str, Any]) -> list[str]:
    """Medians and ratios in words."""
    said = [
        f"{name}: {one['seconds']['median']:.3f} s, p95 {one['seconds']['p95']:.3f}"
        if "seconds" in one
        else f"{name}: {one['missing']}"
        for name, one in content["contenders"].items()
    ]
    return said + [
        f"{kind}: {pair} = {value['median']:.2f} ({value['interval_95'][0]:.2f} to {value['interval_95'][1]:.2f})"
        for kind in ("ratios", "cpu_time_ratios")
        for pair, value in content[kind].items()
    ]
