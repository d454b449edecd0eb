"""Many requests from a file of JSON Lines: one after the other, resumable, a fault in one stops none of the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from diffpc.errors import DiffPCError, InputError, UsageError
from diffpc.generate.prepare import prepared
from diffpc.generate.request import Request, check_options, checked_output, is_photo, output_paths
from diffpc.generate.run import generate
from diffpc.generate.session import Session
from diffpc.records import append_line, read_lines
from diffpc.settings import from_dict
from diffpc.weights import sha256

RESULTS = "results.jsonl"
"""In the output folder: one line for every job that was tried, the last of a job counts."""

MAX_BYTES = 64 * 2**20
"""Of the file of jobs."""

MAX_JOBS = 100_000

NOT_IN_A_LINE = frozenset({"replay", "stages"})
"""Options that a line cannot have."""

EXCLUSIVE = (
    frozenset({"target", "pose", "place", "target_face"}),
    frozenset({"reference", "identity", "face"}),
)
"""Options of which one excludes another."""

_FAULTS = (DiffPCError, RuntimeError, ValueError, OSError)
"""What one job may raise while the next can still be drawn; torch's faults, a full memory too, are RuntimeErrors."""


@dataclass(frozen=True)
class Line:
    """One line of the file of jobs."""

    number: int
    """From 1."""
    text: str


@dataclass(frozen=True)
class Result:
    """What came of one line."""

    line: int
    key: str
    """Of the request and the content of its files: a line that was changed is drawn again."""
    outputs: tuple[str, ...]
    """Names below the output folder; none if it failed."""
    portraits: tuple[dict[str, Any], ...]
    """Seed, similarity and errors of each."""
    error: str | None
    """Why it failed."""


@dataclass(frozen=True)
class Tally:
    """How a batch ended."""

    drawn: int
    """Lines whose portraits were drawn now."""
    kept: int
    """Lines that were finished before."""
    failed: int
    """Lines with an error."""


def run_batch(
    jobs: Path, common: Request, session: Session, tell: Callable[[Result], None] = lambda _: None
) -> Tally:
    """Draw what is not drawn yet; failed lines are tried again.

    Args:
        jobs: one JSON object a line, with the options of `generate` under their long names.
        common: options for the lines that do not give their own; its output is the folder of the batch.
        session: keeps the model and the people from one line to the next.
        tell: takes the result of each line that was tried.

    Raises:
        UsageError: if the output folder is not named.
        InputError: if the file cannot be read, or the results cannot be written.
    """
    folder = common.output
    if folder is None or folder.suffix.lower() == ".png":
        raise UsageError("--batch needs --output FOLDER for its portraits; name a folder")
    log = folder / RESULTS
    finished = {line["key"] for line in read_lines(log) if _is_done(line)}
    counts = {"drawn": 0, "kept": 0, "failed": 0}
    taken: dict[Path, int] = {}
    for line in _lines(jobs):
        result = _tried(line, common, folder, (finished, taken), session)
        if result is None:
            counts["kept"] += 1
            continue
        counts["failed" if result.error else "drawn"] += 1
        append_line(log, asdict(result))
        tell(result)
    return Tally(**counts)


def request_of(line: Line, common: Request, folder: Path) -> Request:
    """The request of a line: its own options, before those of the command.

    Raises:
        UsageError: if it is no JSON object, or has unknown options or values of a wrong type.
        InputError: if its output leaves the folder.
    """
    try:
        values = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is not valid JSON ({error}); write one object a line") from error
    if not isinstance(values, dict):
        raise UsageError("is not a JSON object; write one object a line")
    given = {name.replace("-", "_"): value for name, value in cast(dict[str, Any], values).items()}
    if isinstance(given.get("reference"), str):
        given["reference"] = [given["reference"]]
    for name in sorted(NOT_IN_A_LINE & set(given)):
        raise UsageError(f"{name} cannot be an option of a line; leave it out")
    request = from_dict(Request, given, "the line")
    output = request.output or Path(f"{line.number:05d}.png")
    if output.is_absolute() or ".." in output.parts:
        raise InputError(f"output {output} leaves the folder; give a name below {folder}")
    for group in EXCLUSIVE:  # the line's own kind goes before the command's other kind
        if group & set(given):
            common = replace(common, **{name: getattr(Request(), name) for name in group})
    own = {name: getattr(request, name) for name in given} | {"output": folder / output}
    return replace(common, **own)


def _tried(
    line: Line, common: Request, folder: Path, known: tuple[set[str], dict[Path, int]], session: Session
) -> Result | None:
    """Draw one line; None if that was done before."""
    finished, taken = known
    key, outputs = "", tuple[str, ...]()
    try:
        request = request_of(line, common, folder)
        check_options(request)
        paths = output_paths(checked_output(request), request.count or 1)
        for path in paths:
            if taken.setdefault(path, line.number) != line.number:
                raise UsageError(f"output {path.name} is that of line {taken[path]} too; give another name")
        key, outputs = _key(request), tuple(path.relative_to(folder).as_posix() for path in paths)
        if key in finished and all(path.is_file() for path in paths):
            return None
        outcome = generate(prepared(request), session=session)
    except _FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Result(line.number, key, (), (), reason[:1000])
    portraits = tuple(
        {**asdict(one), "output": name} for one, name in zip(outcome.portraits, outputs, strict=True)
    )
    return Result(line.number, key, outputs, portraits, None)


def _key(request: Request) -> str:
    """Of a request and the content of its files; the same request of the same files has the same key."""
    expression = request.expression
    named = [*request.reference, request.identity, request.target]
    named += [lora.path for lora in request.changes.loras]
    named += [Path(expression)] if expression and is_photo(expression) else []
    digests = [sha256(path) for path in named if path]
    text = json.dumps([asdict(request), digests], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _lines(jobs: Path) -> Iterator[Line]:
    """The lines with something in them."""
    try:
        if jobs.stat().st_size > MAX_BYTES:
            raise InputError(f"{jobs}: has more than {MAX_BYTES // 2**20} MiB; split it")
        texts = jobs.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{jobs}: cannot be read ({error}); give a file of JSON Lines in UTF-8") from error
    lines = [Line(number, text) for number, text in enumerate(texts, 1) if text.strip()]
    if not lines or len(lines) > MAX_JOBS:
        raise InputError(f"{jobs}: has {len(lines)} jobs; give 1 to {MAX_JOBS}")
    yield from lines


def _is_done(line: dict[str, Any]) -> bool:
    return line.get("error") is None and isinstance(line.get("key"), str)
