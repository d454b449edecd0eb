"""Which photo was being looked at when a worker died, and whether it is to blame."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from diffpc.curate.record import Listed
from diffpc.curate.settings import PhotoSettings
from diffpc.errors import InputError

PATIENCE = 300.0
"""Seconds that a suspect has, the loading of the networks included."""

_ATTEMPT = "attempt"


class Journal:
    """Beside a part that is being made: which photos were begun in each attempt."""

    def __init__(self, part: Path) -> None:
        self.file = part.with_suffix(".begun")

    def suspects(self) -> set[int]:
        """The last photo of every earlier attempt; then a new attempt begins.

        Raises:
            InputError: if the file cannot be read or written.
        """
        lines = self._lines()
        attempts = "\n".join(lines).split(_ATTEMPT)
        last = {attempt.split()[-1] for attempt in attempts if attempt.split()}
        self._append(_ATTEMPT)
        return {int(number) for number in last if number.isdecimal()}

    def begin(self, number: int) -> None:
        """Note that a photo is being looked at from now on. It need outlive the process only, not the machine."""
        self._append(str(number))

    def close(self) -> None:
        """The part is there: forget."""
        self.file.unlink(missing_ok=True)

    def _lines(self) -> list[str]:
        try:
            return self.file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._fault(error) from error

    def _append(self, line: str) -> None:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as stream:
                stream.write(line + "\n")
        except OSError as error:
            raise self._fault(error) from error

    def _fault(self, error: OSError) -> InputError:
        reason = error.strerror or error
        return InputError(
            f"{self.file}: cannot be written ({reason}); make room and run the same command again"
        )


def survives(listed: Listed, settings: PhotoSettings) -> bool:
    """Whether a process of its own lives through the photo: most workers die of something else."""
    question = json.dumps({"listed": asdict(listed), "settings": asdict(settings)}, default=dict)
    for _ in range(2):  # one that is killed from outside is asked again
        try:
            trial = subprocess.run(
                [sys.executable, "-m", "diffpc.curate.trial"],
                input=question.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        if trial.returncode >= 0:  # any end of its own; the worker will see the error itself
            return True
    return False
