import pytest
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diffpc.errors import UsageError
from diffpc.train import trackers
from diffpc.train.loop import Report
from diffpc.train.trackers import check_tracker, tracked


@pytest.mark.parametrize("name", ["auto", "tensorboard"])
def test_curves_can_be_read_again(tmp_path, name):
    with tracked(Accelerator(), name, tmp_path, {"loop": {"batch": 2}}) as track:
        track(Report(32, {"total": 0.5}, 0.25))
        track(Report(64, {"total": 0.25}, 0.25))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("total")] == [(32, 0.5), (64, 0.25)]
    assert events.Scalars("seconds per step")[0].value == 0.25


def test_nobody_draws_curves_where_none_are_wanted(tmp_path, monkeypatch):
    with tracked(Accelerator(), "none", tmp_path, {}) as track:
        track(Report(32, {"total": 0.5}, 0.25))
    monkeypatch.setattr(trackers, "is_tensorboard_available", lambda: False)
    with tracked(Accelerator(), "auto", tmp_path, {}) as track:
        track(Report(32, {"total": 0.5}, 0.25))
    assert not list(tmp_path.iterdir())


def test_a_tracker_that_cannot_be_had_is_refused_with_a_remedy(monkeypatch):
    with pytest.raises(UsageError, match="unknown tracker 'abacus'; choose auto, none or one of: "):
        check_tracker("abacus")
    monkeypatch.setattr(trackers, "get_available_trackers", list)
    with pytest.raises(UsageError, match=r"pip install 'diffpc\[train\]', or pass --engine\.tracker none"):
        check_tracker("tensorboard")
    check_tracker("auto")
