"""All checks, one after the other; none keeps another from being done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from diffpc.backends import load
from diffpc.doctor.report import (
    REINSTALL,
    Check,
    Diagnosis,
    Examination,
    Status,
    attempted,
    reason_of,
    remedy_of,
)
from diffpc.types import Say

AREAS: dict[str, str] = {
    "machine": "diffpc.doctor.machine:machine_checks",
    "packages": "diffpc.doctor.packages:package_checks",
    "files": "diffpc.doctor.files:file_checks",
    "back ends": "diffpc.doctor.backends:backend_checks",
    "model": "diffpc.doctor.stages:stage_checks",
}
"""Area -> "module:function(Options) -> name -> examination"; a module is imported when its area's turn comes."""

_NEEDED = ("machine", "model")
"""Areas where what raises is needed by the bundled model."""


@dataclass(frozen=True)
class Options:
    """How thorough the checks are."""

    hash: bool = True
    """Read every file that is here to its end."""


def examine(options: Options, say: Say) -> Diagnosis:
    """Do all checks. Never raises, whatever is missing or broken.

    Args:
        options: how thorough.
        say: hears the name of each area when its turn comes.
    """
    checks: list[Check] = []
    for area, place in AREAS.items():
        say(f"checking {area}")
        found = attempted(partial(_examinations, area, place, options))
        if isinstance(found, Exception):
            checks.append(_failed(area, area, found))
            continue
        checks += [examined(area, name, examination) for name, examination in found.items()]
    return Diagnosis(tuple(checks))


def examined(area: str, name: str, examination: Examination) -> Check:
    """What a check found, with its area and, for the model's stages, its time."""
    start = time.perf_counter()
    outcome = attempted(examination)
    check = _failed(area, name, outcome) if isinstance(outcome, Exception) else outcome
    timed = area == "model" and check.status == "ok"
    return replace(
        check, area=area, name=name, seconds=round(time.perf_counter() - start, 3) if timed else None
    )


def _examinations(area: str, place: str, options: Options) -> Mapping[str, Examination]:
    return load("area", area, {area: place})(options)


def _failed(area: str, name: str, error: Exception) -> Check:
    status: Status = "broken" if area in _NEEDED else "warning"
    return Check(name, status, reason_of(error), remedy_of(error, REINSTALL), area)
