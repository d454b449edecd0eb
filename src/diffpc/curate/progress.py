"""News while parts are made: rates, time left, rejects by reason."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from diffpc.curate.engine import Engine, Job
from diffpc.curate.parts import Told
from diffpc.types import Say

INTERVAL = 10.0
"""Least seconds between two lines of one stage."""


def make_all(name: str, jobs: Sequence[Job], engine: Engine, report: Say) -> list[Told]:
    """Make what is not made yet; what all jobs tell, those made before first.

    Args:
        name: of the work, for the news.
        jobs: all of it.
        engine: makes them.
        report: takes a line now and then.
    """
    there = [job.done() for job in jobs]
    left = [job for job, told in zip(jobs, there, strict=True) if told is None]
    made = [told for told in there if told is not None]
    if made:
        report(f"{name}: {len(made)} of {len(jobs)} parts were made before")
    started = last = time.monotonic()
    fresh: list[Told] = []
    for told in engine.run(left):
        fresh.append(told)
        now = time.monotonic()
        if now - last >= INTERVAL:
            last = now
            report(news(name, made, fresh, now - started, len(left)))
    if left:
        report(news(name, made, fresh, time.monotonic() - started, len(left)))
    return made + fresh


def news(name: str, before: Sequence[Told], fresh: Sequence[Told], seconds: float, parts: int) -> str:
    """One line.

    Args:
        before: parts of earlier runs.
        fresh: parts of this run.
        seconds: that these took.
        parts: of this run in all.
    """
    photos = sum(told.photos for told in fresh)
    rate = photos / max(seconds, 1e-3)
    left = seconds / max(len(fresh), 1) * (parts - len(fresh))
    rejects = sum((Counter(told.rejects) for told in (*before, *fresh)), Counter[str]())
    line = f"{name}: {len(before) + len(fresh)} of {len(before) + parts} parts, {rate:.1f} photos/s"
    if len(fresh) < parts:
        line += f", {_spoken(left)} left"
    if rejects:
        line += "; left out: " + ", ".join(f"{reason} {count}" for reason, count in rejects.most_common())
    return line


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
