"""`diffpc bench`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from diffpc.bench.settings import CurateBench, GenerateBench, StartUpBench, TrainBench
from diffpc.cli.output import hush
from diffpc.errors import UsageError

WHATS: dict[str, tuple[type, str]] = {
    "generate": (GenerateBench, "diffpc.bench.generate"),
    "train": (TrainBench, "diffpc.bench.train"),
    "curate": (CurateBench, "diffpc.bench.curate"),
    "start-up": (StartUpBench, "diffpc.bench.start_up"),
}
"""What is measured -> its settings, and the module with `run(settings) -> content` and `lines(content)`."""


def run(arguments: Sequence[str]) -> int:
    """Measure, write the figures and print the most important ones."""
    what, *rest = list(arguments) or ["--help"]
    if what in ("-h", "--help"):
        print(_help())
        return 0
    if what not in WHATS:
        raise UsageError(f"unknown benchmark {what!r}; choose one of: {', '.join(WHATS)}")
    import tyro

    settings, module = WHATS[what]
    parsed = tyro.cli(
        settings,
        prog=f"diffpc bench {what}",
        description=settings.__doc__,
        args=[word for word in rest if word != "--json"],
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff),
    )
    hush()
    measure = import_module(module)
    content: dict[str, Any] = measure.run(parsed)
    if "--json" in rest:
        print(json.dumps(content))
        return 0
    for line in measure.lines(content):
        print(line)
    print(f"{parsed.output}: all figures")
    return 0


def _help() -> str:
    whats = [f"  {name:<12}{settings.__doc__}" for name, (settings, _) in WHATS.items()]
    return "\n".join(
        [
            "usage: diffpc bench WHAT [OPTIONS]",
            "",
            "Timings on this machine; how to read them: docs/performance.md.",
            "",
            *whats,
        ]
    )
