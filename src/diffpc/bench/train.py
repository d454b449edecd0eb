"""Samples per second of our adapter training against diffusers' way of training a ControlNet on the same parts.

    diffpc bench train --size tiny --output train-tiny.json
    diffpc bench train --size sdxl --batch 1 2 4 8 --output train-sdxl.json

Contenders take turns, round by round; nothing of one is in memory while another runs.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from diffusers.utils import logging

from diffpc.bench.device import clear, describe, matrix_rate, seconds
from diffpc.bench.figures import figure, ratio, write_json
from diffpc.bench.parts import Parts, build_parts
from diffpc.bench.settings import TrainBench
from diffpc.bench.trainers import CONTENDERS, flop_per_sample
from diffpc.loading import DTYPES, chosen_device
from diffpc.train.memory import peak_bytes
from diffpc.train.recipe import RECIPES
from diffpc.train.settings import IdentityLoss, Recipe

PAIRS = (
    ("ours", "naive"),
    ("ours", "controlnet"),
    ("ours_without_id_loss", "controlnet"),
)
"""Whose rates are divided. Only the first pair does the same work."""


@dataclass
class Turns:
    """What was measured of one contender."""

    rates: list[float] = field(default_factory=list)
    """Samples per second, by round."""
    cpu_rates: list[float] = field(default_factory=list)
    """On a CPU: samples per second that this process had a core. Others on the machine disturb them less."""
    loss: float | None = None
    """Of the last step."""
    peak: int | None = None
    """Bytes; on a GPU all that torch held, the shared frozen parts included."""
    flop: float | None = None
    """Per sample."""
    error: str | None = None
    """Why there is nothing more."""


def recipe_of(settings: TrainBench, batch: int, device: torch.device) -> Recipe:
    """The published recipe with the settings' changes; the ID loss is on, as in the paper."""
    recipe = RECIPES[settings.size]()
    precision = settings.precision or ("bfloat16" if device.type == "cuda" else "float32")
    return replace(
        recipe,
        loop=replace(recipe.loop, batch=batch),
        identity=replace(recipe.identity, weight=IdentityLoss().weight),
        engine=replace(
            recipe.engine, precision=precision, compile=settings.compile, workers=settings.workers
        ),
    )


def turn(name: str, parts: Parts, recipe: Recipe, settings: TrainBench, found: Turns) -> None:
    """Build a contender, warm it up, time it, forget it."""
    clear(parts.device)
    torch.manual_seed(0)
    contender = CONTENDERS[name](parts, recipe)
    for _ in range(settings.warmup):
        contender.step()
    losses: list[float] = []
    busy = time.process_time()
    taken = seconds(
        lambda: losses.extend(contender.step() for _ in range(settings.steps)),
        parts.device,
    )
    found.rates.append(settings.steps * recipe.loop.batch / taken)
    found.loss = losses[-1]
    if parts.device.type == "cpu":
        found.cpu_rates.append(settings.steps * recipe.loop.batch / (time.process_time() - busy))
    else:
        found.peak = max(found.peak or 0, peak_bytes(parts.device))


def alone(name: str, settings: TrainBench, batch: int) -> int:
    """Peak memory of a process that only trains."""
    device = prepared(settings)
    recipe = recipe_of(settings, batch, device)
    contender = CONTENDERS[name](build_parts(recipe, device), recipe)
    for _ in range(2):  # the optimiser has its moments from the first on
        contender.step()
    return peak_bytes(device)


def peaks(settings: TrainBench, batch: int) -> dict[str, int]:
    """Each contender's, in a process of its own.

    Call it before this process uses much memory: a new process starts with the peak of the one that made it.
    """
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, int] = {}
    for name in settings.contenders:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            found[name] = pool.submit(alone, name, settings, batch).result()
    return found


def attempt(work: Callable[[], None], found: Turns) -> None:
    """Do it unless the contender failed before; running out of memory is a result."""
    if found.error is not None:
        return
    try:
        work()
    except torch.OutOfMemoryError:
        found.error = "out of memory"


def summary(turns: dict[str, Turns], matrix_rates: list[float]) -> dict[str, Any]:
    """Figures of one configuration."""
    rate = figure(matrix_rates)
    content: dict[str, Any] = {
        "matrix_flop_per_second": asdict(rate),
        "contenders": {},
        "ratios": _ratios({name: found.rates for name, found in turns.items()}),
        "cpu_time_ratios": _ratios({name: found.cpu_rates for name, found in turns.items()}),
    }
    for name, found in turns.items():
        entry: dict[str, Any] = {"loss": found.loss, "peak_bytes": found.peak, "flop_per_sample": found.flop}
        if found.rates:
            entry["samples_per_second"] = asdict(figure(found.rates))
        if found.rates and found.flop:
            entry["share_of_matrix_rate"] = figure(found.rates).median * found.flop / rate.median
        content["contenders"][name] = entry | ({"error": found.error} if found.error else {})
    return content


def _ratios(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Of the pairs, over the rounds that both had."""
    whole = {
        f"{first} / {second}": list(zip(rates[first], rates[second], strict=False))
        for first, second in PAIRS
        if first in rates and second in rates
    }
    return {
        pair: asdict(ratio(*zip(*both, strict=True)))  # pyright: ignore[reportArgumentType] - two columns
        for pair, both in whole.items()
        if both
    }


def configuration(
    settings: TrainBench,
    batch: int,
    device: torch.device,
    until: float,
    write: Callable[[dict[str, Any]], None],
) -> None:
    """Measure one batch size; `write` gets what there is after each round."""
    recipe = recipe_of(settings, batch, device)
    turns = {name: Turns() for name in settings.contenders}
    if settings.memory and device.type == "cpu":
        for name, peak in peaks(settings, batch).items():
            turns[name].peak = peak
    parts = build_parts(recipe, device)
    for name, found in turns.items():

        def count(name: str = name, found: Turns = found) -> None:
            clear(device)
            found.flop = flop_per_sample(name, parts, recipe)

        attempt(count, found)
    rates: list[float] = []
    for _ in range(settings.rounds):
        if time.monotonic() > until:
            break
        rates.append(matrix_rate(device, DTYPES[recipe.engine.precision]))
        for name, found in turns.items():
            attempt(lambda name=name, found=found: turn(name, parts, recipe, settings, found), found)
        write(summary(turns, rates))


def prepared(settings: TrainBench) -> torch.device:
    """The device, and the libraries told of it."""
    device = chosen_device(settings.device)
    if device.type == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "1"
    torch.set_num_threads(settings.threads)
    logging.set_verbosity_error()
    return device


def run(settings: TrainBench) -> dict[str, Any]:
    """Measure all configurations; returns what it wrote."""
    until = time.monotonic() + 60 * settings.minutes
    device = prepared(settings)
    batches = settings.batch or (
        (1, 2, 4, 8) if device.type == "cuda" else (RECIPES[settings.size]().loop.batch,)
    )
    content: dict[str, Any] = {
        "machine": asdict(describe(device)),
        "settings": {**asdict(settings), "output": settings.output.name},
        "configurations": {},
    }
    for batch in batches:

        def write(found: dict[str, Any], batch: int = batch) -> None:
            content["configurations"][f"batch {batch}"] = found
            write_json(settings.output, content)

        configuration(settings, batch, device, until, write)
    return content


def lines(content: dict[str, Any]) -> list[str]:
    """The ratios in words."""
    return [
        f"{name}, {kind}: {pair} = {value['median']:.2f} ({value['quartiles'][0]:.2f} to {value['quartiles'][1]:.2f})"
        for name, found in content["configurations"].items()
        for kind in ("ratios", "cpu_time_ratios")
        for pair, value in found[kind].items()
    ]
