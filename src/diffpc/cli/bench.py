"""`diffpc bench`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from diffpc.bench.settings import CurateBench, GenerateBench, StartUpBench, TrainBench
from diffpc.cli.options import options_of
from diffpc.cli.output import hush, overview
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

    settings, module = WHATS[what]
    parsed = options_of(
        settings, f"diffpc bench {what}", [word for word in rest if word != "--json"], settings.__doc__
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
    summaries = {name: settings.__doc__ or "" for name, (settings, _) in WHATS.items()}
    return overview(
        "diffpc bench WHAT [OPTIONS]",
        "Timings on this machine; how to read them: docs/performance.md.",
        "benchmarks",
        summaries,
    )
