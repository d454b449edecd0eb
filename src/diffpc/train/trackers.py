"""Curves for people who like to look at them: TensorBoard, or whatever else Accelerate knows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, TensorBoardTracker, get_available_trackers
from accelerate.utils import is_tensorboard_available

from diffpc.errors import UsageError
from diffpc.train.changes import flat
from diffpc.train.loop import Report


@contextmanager
def tracked(
    accelerator: Accelerator, tracker: str, folder: Path, recipe: Mapping[str, Any]
) -> Generator[Callable[[Report], None]]:
    """Within the context, the means of every step go to a tracker.

    Args:
        accelerator: of the run.
        tracker: a name of Accelerate's, "none", or "auto" for TensorBoard where it is installed.
        folder: of the run; TensorBoard's files go to its "tensorboard".
        recipe: is shown beside the curves.

    Raises:
        UsageError: if the tracker is unknown or not installed.
    """
    check_tracker(tracker)
    if tracker == "auto":
        tracker = "tensorboard" if is_tensorboard_available() else "none"
    if tracker == "none":
        yield lambda _: None
        return
    logs: Any = accelerator  # Any: `log_with` is declared narrower than what `init_trackers` reads
    logs.log_with = [_tensorboard(folder) if tracker == "tensorboard" else tracker]
    accelerator.init_trackers("diffpc", {name: str(value) for name, value in flat(recipe)})

    def track(report: Report) -> None:
        rate = {"seconds per step": report.seconds}
        accelerator.log({**report.terms, **rate}, step=report.images)

    try:
        yield track
    finally:
        for one in accelerator.trackers:
            one.finish()


def check_tracker(tracker: str) -> None:
    """Refuse a tracker that cannot be had.

    Raises:
        UsageError: if it is unknown or not installed.
    """
    if tracker in ("auto", "none"):
        return
    if tracker not in LOGGER_TYPE_TO_CLASS:
        raise UsageError(
            f"unknown tracker {tracker!r}; choose auto, none or one of: {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}"
        )
    if tracker not in {str(name) for name in get_available_trackers()}:
        extra = "diffpc[train]" if tracker == "tensorboard" else tracker
        raise UsageError(
            f"the tracker {tracker} is not installed; run: pip install '{extra}', or pass --engine.tracker none"
        )


def _tensorboard(folder: Path) -> TensorBoardTracker:
    return TensorBoardTracker(run_name="tensorboard", logging_dir=folder)
