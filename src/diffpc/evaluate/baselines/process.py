"""A baseline's program as a system of the benchmark: tasks as JSON lines, one process for all persons."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from diffpc.errors import InputError, UsageError
from diffpc.evaluate.draw import Drawn, Photos
from diffpc.evaluate.manifest import Case
from diffpc.images import read_image
from diffpc.weights import sha256

PROGRAMS = Path(__file__).parent / "programs"

LOAD_SECONDS, DRAW_SECONDS = 1800.0, 1800.0
"""How long a program may load, and draw one picture."""

_TAIL = 2_000
"""Characters of a program's last words that a message quotes."""


@dataclass(frozen=True)
class Baseline:
    """A system that can be held against Diff-PC."""

    program: str
    """File among PROGRAMS, or a path; its environment is the .txt beside it."""
    needs: tuple[str, ...]
    """Settings that it cannot do without."""
    what: str
    """One line for the user."""


BASELINES: dict[str, Baseline] = {
    "faceid_plus_v2": Baseline(
        "faceid_plus_v2.py",
        ("weights", "base", "controlnet", "image_encoder", "openpose"),
        "IP-Adapter-FaceID-PlusV2 with an openpose ControlNet on SDXL, by diffusers itself",
    ),
    "instantid": Baseline(
        "instantid.py", ("source", "weights", "base", "insightface"), "InstantID on SDXL, by its repository"
    ),
    "photomaker_v2": Baseline(
        "photomaker_v2.py", ("source", "weights", "base"), "PhotoMaker-V2 on SDXL, by its repository; no pose"
    ),
    "pulid": Baseline("pulid.py", ("source", "base"), "PuLID v1.1 on SDXL, by its repository; no pose"),
    "flashface": Baseline(
        "flashface.py", ("source",), "FlashFace on SD 1.5, 768 px, by its repository; no pose"
    ),
}
"""name -> baseline."""

DEFAULTS: dict[str, Any] = {"steps": 8, "guidance": 1.0, "size": [1024, 1024], "device": "cuda"}
"""The paper's comparison: SDXL-Lightning, 8 steps, 1024 px."""


class ProcessSystem:
    """See `draw.System`; the process starts when it is built and ends with `close`."""

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any],
        python: str = sys.executable,
        program: Path | None = None,
    ) -> None:
        """Start a baseline and wait until its networks are loaded.

        Args:
            name: a key of BASELINES.
            settings: what its program takes; see there.
            python: interpreter of its environment.
            program: another program that speaks the same protocol.

        Raises:
            UsageError: if the name is unknown or a setting is missing.
            InputError: if the program ends or says what is no answer.
        """
        if name not in BASELINES:
            raise UsageError(f"unknown baseline {name!r}; choose one of: {', '.join(BASELINES)}")
        lacking = [one for one in BASELINES[name].needs if one not in settings]
        if lacking:
            raise UsageError(
                f"{name} needs the settings {', '.join(lacking)}; pass --set NAME=VALUE for each"
            )
        self.name, self.settings = name, {**DEFAULTS, **settings}
        self.program = program or PROGRAMS / BASELINES[name].program
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self._process = subprocess.Popen(
            [python, str(self.program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._tell(self.settings)
        answer = self._answer(LOAD_SECONDS)
        if not isinstance(answer.get("ready"), dict):
            raise InputError(
                f'{self.program}: answered {str(answer)[:200]} instead of "ready"; check the program'
            )
        self.ready = cast(dict[str, Any], answer["ready"])

    def describe(self) -> dict[str, Any]:
        """See `draw.System`: settings with the hashes of weight files in place of their paths."""
        settings = {name: _hashed(value) for name, value in self.settings.items()}
        return {"name": self.name, "settings": settings, "says": self.ready, "program": sha256(self.program)}

    def draw(self, cases: Sequence[Case], photos: Photos) -> Iterator[Drawn]:
        """See `draw.System`."""
        with tempfile.TemporaryDirectory() as folder:
            for case in cases:
                output = Path(folder) / "portrait.png"
                output.unlink(missing_ok=True)
                task = {
                    "reference": str(photos.reference.absolute()),
                    "target": str(photos.targets[case.target].absolute()),
                    "prompt": case.of.prompts[case.prompt].text,
                    "seed": case.of.seeds[case.seed],
                    "output": str(output),
                }
                self._tell(task)
                yield self._drawn(case, self._answer(DRAW_SECONDS), output)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.close()

    def __enter__(self) -> ProcessSystem:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _drawn(self, case: Case, answer: Mapping[str, Any], output: Path) -> Drawn:
        if "error" in answer:
            return Drawn(case, None, {}, str(answer["error"])[:500])
        if not output.is_file():
            raise InputError(
                f"{self.program}: drew nothing for {case.name} and gave no reason; check the program"
            )
        seconds = answer.get("seconds")
        known = cast(dict[str, Any], seconds) if isinstance(seconds, dict) else {}
        return Drawn(case, read_image(output), {str(name): float(value) for name, value in known.items()})

    def _tell(self, values: Mapping[str, Any]) -> None:
        stream = cast(IO[str], self._process.stdin)
        try:
            stream.write(json.dumps(values) + "\n")
            stream.flush()
        except OSError:  # it has ended; its last words are told when the answer is missed
            return

    def _listen(self) -> None:
        for line in cast(IO[str], self._process.stdout):
            self._answers.put(line)
        self._answers.put("")

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise InputError(f"{self.program}: no answer within {seconds:.0f} s; check the program") from None
        if not line:
            raise InputError(
                f"{self.program}: ended ({self._last_words()}); check its environment and settings"
            )
        try:
            values = json.loads(line)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise InputError(
                f"{self.program}: answered {line[:200]!r}, which is no JSON object; check the program"
            )
        return cast(dict[str, Any], values)

    def _last_words(self) -> str:
        self._words.seek(0)
        lines = self._words.read()[-_TAIL:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"


def _hashed(value: Any) -> Any:
    """A path would say where on this machine things lie, and not what they are."""
    if isinstance(value, str) and Path(value).is_file():
        return sha256(Path(value))
    if isinstance(value, str) and Path(value).is_dir():
        files = sorted(
            (*Path(value).rglob("*.safetensors"), *Path(value).rglob("*.bin"), *Path(value).rglob("*.pth"))
        )
        return {path.relative_to(value).as_posix(): sha256(path) for path in files}
    return value
