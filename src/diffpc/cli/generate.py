"""`diffpc generate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, field, make_dataclass, replace
from typing import TYPE_CHECKING, Any

from diffpc.cli.options import option, options_of, part
from diffpc.cli.output import Output, hush
from diffpc.cli.passphrase import known_passphrase
from diffpc.imports import kept

if TYPE_CHECKING:
    from pathlib import Path

    from diffpc.generate.request import Request, Series
    from diffpc.generate.run import Outcome

METAVARS = {
    "reference": "PHOTO [PHOTO ...]",
    "identity": "FILE",
    "target": "PHOTO|VIDEO|FOLDER",
    "pose": "YAW PITCH ROLL",
    "place": "X Y SIZE",
    "expression": "NAME|PHOTO",
    "prompt": "TEXT",
    "output": "PNG",
    "model": "tiny|FOLDER|FILE|HUB_ID",
    "base": "SDXL",
    "unet": "FILE|FOLDER",
    "vae": "FILE|FOLDER",
    "lora": "FILE[=WEIGHT] ...",
    "fast": "lightning|hyper|hyper-cfg|lcm",
    "steps": "N",
    "guidance": "G",
    "strength": "S",
    "seed": "N",
    "count": "N",
    "best_of": "N",
    "face_pass": "auto|on|off",
    "size": "WIDTH HEIGHT",
    "face": "N",
    "target_face": "N",
    "device": "DEVICE",
    "dtype": "TYPE",
    "memory": "MODE [MODE ...]",
    "stages": "FOLDER",
    "replay": "PNG",
}
"""How `diffpc generate --help` names the values."""

SERIES = {"batch": "JSONL", "animation": "WEBP|MP4", "every": "N", "smooth": "FRAMES"}
"""The same for many portraits."""

FAILED_IN_PART = 4
"""Exit code of a batch of which some lines failed."""

DEFAULTS = {
    "place": "0.5 0.45 0.5",
    "model": "tiny",
    "steps": "the model's, mostly 8",
    "guidance": "the model's, mostly 1",
    "strength": "1",
    "seed": "0",
    "count": "1",
    "face_pass": "auto",
    "size": "the model's",
    "device": "cuda if there is one, else cpu",
    "dtype": "bfloat16 on cuda, else float32",
}
"""What stands in for an option that is not given."""


def run(arguments: Sequence[str]) -> int:
    """Draw portraits."""
    request, series, output = _parsed(arguments)
    if series.batch:
        return _run_batch(series.batch, request, output)
    if request.target:
        from diffpc.generate.frames import is_film

        if is_film(request.target):
            return _run_film(request, series, output)
    from diffpc.generate.prepare import prepared

    notes: list[str] = []
    weights: dict[str, str] = {}
    detail = None
    if request.replay:
        _hush(output)
        from diffpc.generate.replay import replayed

        replay = replayed(request)
        request, detail, weights = replay.request, replay.detail, replay.weights
        notes += replay.notes
    job = prepared(request, detail)
    _hush(output)
    with kept("torch"):
        from diffpc.generate.run import generate
        from diffpc.generate.session import Session

    outcome = generate(job, not (output.quiet or output.json), Session(known_passphrase))
    if weights and weights != outcome.weights:
        notes.append(f"the model's weights are not those that drew {request.replay}")
    _print_outcome(outcome, notes, output)
    return 0


def _run_batch(jobs: Path, request: Request, output: Output) -> int:
    _hush(output)
    with kept("torch"):
        from diffpc.generate.batch import Result, run_batch
        from diffpc.generate.session import Session

    def tell(result: Result) -> None:
        if output.json:
            print(json.dumps(asdict(result), allow_nan=False), flush=True)
        elif result.error:
            print(f"diffpc: {jobs}, line {result.line}: {result.error}", file=sys.stderr)
        elif not output.quiet:
            print(f"line {result.line}: {', '.join(result.outputs)}", flush=True)

    tally = run_batch(jobs, request, Session(known_passphrase), tell)
    if not output.json:
        print(f"{tally.drawn} lines drawn, {tally.kept} drawn before, {tally.failed} failed")
    return FAILED_IN_PART if tally.failed else 0


def _run_film(request: Request, series: Series, output: Output) -> int:
    _hush(output)
    from tqdm import tqdm

    with kept("torch"):
        from diffpc.generate.sequence import draw_film
        from diffpc.generate.session import Session

    def bar(numbers: Iterable[Any], name: str) -> Iterable[Any]:
        return tqdm(numbers, desc=name, disable=True if output.quiet or output.json else None, leave=False)

    outcome = draw_film(request, series, Session(known_passphrase), bar)
    if output.json:
        print(json.dumps(asdict(outcome)))
        return 0
    print(
        f"{outcome.folder}: {outcome.drawn} portraits drawn, {outcome.kept} drawn before, of {outcome.frames} frames"
    )
    for name, numbers in (("bridged", outcome.bridged), ("skipped", outcome.skipped)):
        if numbers:
            print(f"no face, {name}: {', '.join(map(str, numbers))}")
    if outcome.animation:
        print(f"{outcome.animation}: the animation")
    return 0


def _hush(output: Output) -> None:
    if not output.debug:
        hush()


def _parsed(arguments: Sequence[str]) -> tuple[Request, Series, Output]:

    from diffpc.generate.request import Request, Series

    options = [option(Request, name, METAVARS[name], DEFAULTS.get(name)) for name in METAVARS]
    options += [option(Series, name, metavar) for name, metavar in SERIES.items()]
    flags = [(name, bool, field(default=False)) for name in ("compile", *Output.__dataclass_fields__)]
    kind = make_dataclass("Generate", [*options, *flags], bases=(Request, Series, Output), frozen=True)
    parsed = options_of(
        kind, "diffpc generate", arguments, "Draw portraits: photo + pose and expression + prompt -> PNG."
    )
    request = part(parsed, Request)
    request = replace(request, compile=request.compile or None)  # not given: as in a PNG that is drawn again
    return request, part(parsed, Series), part(parsed, Output)


def _print_outcome(outcome: Outcome, notes: Sequence[str], output: Output) -> None:
    if output.json:
        print(json.dumps({**asdict(outcome), "notes": list(notes)}, allow_nan=False))
        return
    for note in [] if output.quiet else notes:
        print(f"diffpc: note: {note}", file=sys.stderr)
    for portrait in outcome.portraits:
        found = (
            f"similarity {portrait.similarity:.2f}, pose within {portrait.pose_error:.1f} degrees"
            if portrait.similarity is not None and portrait.pose_error is not None
            else "no face found in it"
        )
        print(f"{portrait.output}: seed {portrait.seed}, {found}")
    if outcome.stages:
        print(f"{outcome.stages}: pictures of the stages")
    seconds = ", ".join(f"{stage} {value:.1f}" for stage, value in outcome.seconds.items() if value >= 0.05)
    print(f"seconds: {seconds}")
