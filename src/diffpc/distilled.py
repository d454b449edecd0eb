"""Weights that draw in a few steps: what each family was distilled for, and how its files are recognised."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from diffpc.errors import UsageError


@dataclass(frozen=True)
class Schedule:
    """What distilled weights were made for."""

    name: str
    """As `--fast` has it."""
    steps: tuple[int, ...]
    """Numbers of steps; the file's own, where its name says it."""
    usual: int
    """The number of steps where none is asked for."""
    guidance: tuple[float, float] = (1.0, 1.0)
    """Least and greatest; the least is the usual one."""
    sampler: Literal["ddim", "lcm"] = "ddim"
    """DDIM with trailing timesteps and eta 0, or LCM's own, which adds noise at every step."""


SCHEDULES = {
    one.name: one
    for one in (
        Schedule("lightning", (2, 4, 8), 8),
        Schedule("hyper", (2, 4, 8), 8),
        Schedule("hyper-cfg", (8, 12), 8, guidance=(5.0, 8.0)),
        Schedule("lcm", tuple(range(2, 9)), 4, guidance=(1.0, 2.0), sampler="lcm"),
    )
}
"""By name. Sources: the pages of ByteDance/SDXL-Lightning, ByteDance/Hyper-SD and latent-consistency/lcm-lora-sdxl."""

_PUBLISHED = {
    "lightning": re.compile(r"sdxl_lightning_(\d+)step"),
    "hyper-cfg": re.compile(r"hyper-sdxl-(\d+)steps?-cfg"),
    "hyper": re.compile(r"hyper-sdxl-(\d+)steps?-(?!cfg)"),
    "lcm": re.compile(r"lcm[-_]lora[-_]sdxl()"),
}
"""Schedule -> the names under which its weights are published, in lower case; the group is the number of steps."""


def chosen_schedule(name: str | None, files: Iterable[Path]) -> Schedule | None:
    """The schedule of that name, else the one of the files' names; None for weights that are not distilled.

    Args:
        name: one of SCHEDULES; None: as the files' names say.
        files: the base, what replaces its UNet, and LoRAs.

    Raises:
        UsageError: if the name is unknown, two files are distilled, or one is of a kind that cannot be drawn with.
    """
    if name is not None and name not in SCHEDULES:
        raise UsageError(f"--fast {name[:40]}: is unknown; choose one of: {', '.join(SCHEDULES)}")
    found = {path.name: one for path in files if (one := _published(path))}
    if len(found) > 1:
        raise UsageError(f"{' and '.join(found)} are both distilled; give one of them")
    own = next(iter(found.values()), None)
    if name is None or (own is not None and own.name == name):
        return own
    return SCHEDULES[name]


def check_steps(schedule: Schedule, steps: int, guidance: float) -> None:
    """Refuse what the weights were not distilled for.

    Raises:
        UsageError: naming the value, what is right, and the option.
    """
    if steps not in schedule.steps:
        allowed = " or ".join(map(str, schedule.steps))
        raise UsageError(
            f"{steps} steps: these {schedule.name} weights are distilled for {allowed}; "
            f"pass --steps {schedule.usual}"
        )
    low, high = schedule.guidance
    if not low <= guidance <= high:
        span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        raise UsageError(
            f"guidance {guidance:g}: {schedule.name} weights are distilled for {span}; pass --guidance {low:g}"
        )


def _published(path: Path) -> Schedule | None:
    for name, pattern in _PUBLISHED.items():
        match = pattern.search(path.name.lower())
        if match is None:
            continue
        schedule = SCHEDULES[name]
        if not match[1]:
            return schedule
        if int(match[1]) not in schedule.steps:
            allowed = ", ".join(map(str, schedule.steps))
            raise UsageError(
                f"{path.name}: weights for {match[1]} steps have a sampler of their own; take {allowed}"
            )
        return replace(schedule, steps=(int(match[1]),), usual=int(match[1]))
    return None
