"""What a check found."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from diffpc.errors import DiffPCError

Status = Literal["ok", "absent", "warning", "broken"]
"""absent: optional, and not there. warning: optional, and wrong. broken: the bundled model needs it."""

REINSTALL = "pip install --force-reinstall diffpc"
_LONGEST = 600

T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str
    """What was found, in one line."""
    remedy: str = ""
    """The command that mends it; empty where there is nothing to mend, or no command does."""
    area: str = ""
    seconds: float | None = None
    """How long it took, where that is of interest."""


Examination: TypeAlias = Callable[[], Check]
"""One check, not done yet; it may raise anything."""


@dataclass(frozen=True)
class Diagnosis:
    """All checks."""

    checks: tuple[Check, ...]

    @property
    def works(self) -> bool:
        """Whether the bundled model draws: each of its stages was tried, and none failed."""
        stages = [check for check in self.checks if check.area == "model"]
        return bool(stages) and all(check.status == "ok" for check in stages)


def attempted(function: Callable[[], T]) -> T | Exception:
    """What a function returns, or what it raises."""
    try:
        return function()
    # A doctor looks at machines where anything may be missing or broken: libraries raise all kinds of errors while they
    # are imported and fed, and the other checks must still be done.
    except Exception as error:  # noqa: BLE001
        return error


def reason_of(error: BaseException) -> str:
    """One line that says what went wrong; the kind of error with it, if it is none of ours."""
    text = " ".join(str(error).split())
    named = text if isinstance(error, DiffPCError) else f"{type(error).__name__}: {text}".rstrip(": ")
    return named if len(named) <= _LONGEST else f"{named[:_LONGEST]}..."


def remedy_of(error: BaseException, other: str) -> str:
    """The command that the error names, else another."""
    match = re.search(r"run: ((?:pip|diffpc) [^;]+)$", str(error))
    return match[1].strip() if match else other
