from pathlib import Path

import pytest

from diffpc.errors import UsageError
from diffpc.train.changes import refuse_changes

THEN = {"loop": {"images": 10, "keep": 2, "schedule": "constant", "betas": [0.9, 0.99]}, "data": "a"}


def changed(**loop):
    return {**THEN, "loop": {**THEN["loop"], **loop}}


def test_the_same_settings_pass_whether_or_not_they_were_json():
    refuse_changes(THEN, changed(betas=(0.9, 0.99)), Path("run"))


def test_housekeeping_may_change_and_so_may_the_length_of_a_constant_rate():
    refuse_changes(THEN, changed(keep=5, images=20), Path("run"))


def test_the_length_of_a_cosine_may_not():
    then = changed(schedule="cosine")
    with pytest.raises(UsageError, match=r"run was begun .*loop\.images was 10, is 20"):
        refuse_changes(then, changed(schedule="cosine", images=20), Path("run"))


def test_every_change_is_named_also_what_is_new_or_gone():
    now = {"loop": {**THEN["loop"], "betas": [0.9, 0.9]}, "more": 1}
    with pytest.raises(UsageError) as caught:
        refuse_changes(THEN, now, Path("run"))
    text = str(caught.value)
    assert "data was 'a', is None" in text and "more was None, is 1" in text
    assert "loop.betas was [0.9, 0.99], is [0.9, 0.9]" in text
