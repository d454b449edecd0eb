"""`diffpc doctor`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from diffpc.cli.options import options_of
from diffpc.cli.output import hush
from diffpc.errors import InputError

if TYPE_CHECKING:
    from diffpc.doctor.report import Check, Diagnosis

MARKS = {"ok": "ok  ", "absent": "-   ", "warning": "warn", "broken": "FAIL"}


@dataclass(frozen=True)
class Doctor:
    """What to check and how to tell it."""

    json: bool = False
    """Print one JSON object."""
    quick: bool = False
    """Hash no file that diffpc does not ship: gigabytes take a while."""


def run(arguments: Sequence[str]) -> int:
    """Check this machine; 0 if the bundled model works, 3 otherwise."""

    parsed = options_of(
        Doctor,
        "diffpc doctor",
        arguments,
        "Check machine, packages, files, back ends and the bundled model, and say what mends them.",
    )
    hush()
    from diffpc.doctor.run import Options, examine

    diagnosis = examine(Options(hash=not parsed.quick), _say)
    if parsed.json:
        print(json.dumps({"works": diagnosis.works, "checks": [asdict(check) for check in diagnosis.checks]}))
    else:
        _print(diagnosis)
    return 0 if diagnosis.works else InputError.exit_code


def _say(line: str) -> None:
    if sys.stderr.isatty():
        print(f"diffpc: {line}", file=sys.stderr)


def _print(diagnosis: Diagnosis) -> None:
    """Area by area; what is optional and not there is named in one line of its area."""
    for area in dict.fromkeys(check.area for check in diagnosis.checks):
        checks = [check for check in diagnosis.checks if check.area == area]
        print(f"{area}:")
        for check in checks:
            if check.status != "absent":
                _print_check(check)
        absent = [check for check in checks if check.status == "absent"]
        if absent:
            print(f"  {MARKS['absent']}  not here, and optional: {', '.join(check.name for check in absent)}")
            for remedy in dict.fromkeys(_general(check.remedy) for check in absent if check.remedy):
                print(f"          {remedy}")
    works = "works" if diagnosis.works else "does NOT work"
    print(f"\nthe bundled model {works} on this machine")


def _print_check(check: Check) -> None:
    took = "" if check.seconds is None else f" ({check.seconds:.2f} s)"
    print(f"  {MARKS[check.status]}  {check.name}: {check.detail}{took}")
    if check.remedy:
        print(f"          run: {check.remedy}")


def _general(remedy: str) -> str:
    """One line for all: each could name its own."""
    fetched = "diffpc assets fetch"
    return f"to have one: {fetched} NAME" if remedy.startswith(fetched) else f"to have it: {remedy}"
