"""Seconds from the shell to the answer, each command in a process of its own, and what its imports cost.

    diffpc bench start-up --reference PHOTO --output start-up.json [--other ../before/src]

Commands take turns; processor time (`os.wait4`) stands beside the clock, which other work on the machine disturbs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diffpc.bench.device import describe
from diffpc.bench.figures import figure, interval, ratio, write_json
from diffpc.bench.settings import StartUpBench
from diffpc.errors import InputError
from diffpc.loading import chosen_device

SOURCE = Path(__file__).parents[2]
"""The folder that this version is imported from."""

LIBRARIES = (
    "from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel; "
    "from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer"
)
"""What no portrait can do without: the floor of its imports."""

WORK = "import diffpc.generate.run, diffpc.generate.session"
"""What `diffpc generate` imports."""

TOP = 15
"""Packages that are listed."""


@dataclass
class Taken:
    """What a command took, run by run."""

    seconds: list[float] = field(default_factory=list)
    """By the clock."""
    processor: list[float] = field(default_factory=list)
    """Of a processor, in the command itself."""


def commands(photo: Path, output: Path) -> dict[str, list[str]]:
    """name -> words behind the interpreter."""
    cli = ["-m", "diffpc.cli"]
    portrait = ["--reference", str(photo), "--pose", "25", "0", "0", "--expression", "smile"]
    return {
        "python": ["-c", ""],
        "diffpc --help": [*cli, "--help"],
        "diffpc generate --help": [*cli, "generate", "--help"],
        "import diffpc": ["-c", "import diffpc"],
        "import torch": ["-c", "import torch"],
        "import the libraries": ["-c", LIBRARIES],
        "import the work": ["-c", WORK],
        "diffpc generate": [*cli, "generate", *portrait, "--prompt", "a photo", "--output", str(output)],
    }


def timed(words: Sequence[str], source: Path) -> tuple[float, float]:
    """Seconds by the clock and of a processor that a command takes.

    Raises:
        InputError: if it fails.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words],
        env=_environment(source),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise InputError(
            f"{' '.join(words)[:120]}: ended with {process.returncode}; run it by itself to see why"
        )
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime


def imports(code: str, source: Path) -> dict[str, float]:
    """Package -> seconds of its modules' own code while `code` runs, by `python -X importtime`; the most first.

    Our own is there, however little it is.
    """
    words = [sys.executable, "-X", "importtime", "-c", code]
    answer = subprocess.run(words, env=_environment(source), capture_output=True, text=True, check=True)
    return by_package(answer.stderr)


def by_package(report: str) -> dict[str, float]:
    """The same of a report."""
    found: Counter[str] = Counter()
    for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", report):
        found[name.split(".")[0]] += int(own)
    listed = [name for name, _ in found.most_common(TOP)]
    return {name: found[name] / 1e6 for name in dict.fromkeys([*listed, "diffpc"]) if name in found}


def summary(taken: dict[str, dict[str, Taken]]) -> dict[str, Any]:
    """Figures by version and command, and this version's processor seconds over the other's."""
    content: dict[str, Any] = {
        version: {
            name: {"seconds": asdict(figure(one.seconds)), "processor_seconds": asdict(figure(one.processor))}
            for name, one in found.items()
        }
        for version, found in taken.items()
    }
    if "other" in taken:
        ratios = {
            name: ratio(one.processor, taken["other"][name].processor) for name, one in taken["this"].items()
        }
        content["this / other, processor seconds"] = {
            name: {**asdict(value), "interval_95": interval(value.values)} for name, value in ratios.items()
        }
    return content


def run(bench: StartUpBench) -> dict[str, Any]:
    """Measure; returns what it wrote."""
    until = time.monotonic() + 60 * bench.minutes
    versions = {"this": SOURCE} | ({"other": bench.other.resolve()} if bench.other else {})
    taken: dict[str, dict[str, Taken]] = {version: defaultdict(Taken) for version in versions}
    content: dict[str, Any] = {
        "machine": asdict(describe(chosen_device("cpu"))),
        "settings": {"rounds": bench.rounds, "reference": bench.reference.name, "other": bool(bench.other)},
    }
    with tempfile.TemporaryDirectory() as folder:
        whole = commands(bench.reference, Path(folder) / "portrait.png")
        for source in versions.values():  # once unmeasured: files come into memory, modules are compiled
            timed(whole["diffpc generate"], source)
        for _ in range(bench.rounds):
            if time.monotonic() > until and taken["this"]:
                break
            for name, words in whole.items():
                for version, source in versions.items():
                    clock, processor = timed(words, source)
                    taken[version][name].seconds.append(clock)
                    taken[version][name].processor.append(processor)
            write_json(bench.output, content | summary(taken))
    content |= {"imports": {version: imports(WORK, source) for version, source in versions.items()}}
    write_json(bench.output, content | summary(taken))
    return content | summary(taken)


def lines(content: dict[str, Any]) -> list[str]:
    """Medians in words."""
    return [
        f"{name}: {one['seconds']['median']:.2f} s, of a processor {one['processor_seconds']['median']:.2f} s"
        for name, one in content["this"].items()
    ]


def _environment(source: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1"}
