"""Exchanged tables and obedience, on tables written by hand."""

from dataclasses import replace

import numpy as np
import pytest

from diffpc.evaluate.background import COLOURS
from diffpc.evaluate.columns import Judges, background_obeyed, columns, obedience
from diffpc.evaluate.manifest import Person, PhotoFile, Prompt
from diffpc.evaluate.observe import joined, stacked
from diffpc.evaluate.table import Table, shuffled

PROMPTS = (Prompt("with", ("hat",)), Prompt("without", (), ("hat",)), Prompt("blue", ("background_blue",)))


def table(people=4):
    """One target, three prompts, one seed each; rows hold numbers that say whose they are."""
    found = [
        Person(f"p{n}", PhotoFile(f"{n}/a", ""), (PhotoFile(f"{n}/t", ""),), PROMPTS, (0,))
        for n in range(people)
    ]
    cases = tuple(case for person in found for case in person.cases())
    owner = np.repeat(np.arange(people), 3)
    attribute = np.array([[0.9], [0.2], [np.nan]] * people)
    colour = np.zeros((3 * people, len(COLOURS)))
    colour[2::3, COLOURS.index("blue")] = 1
    rows = {"drawn": np.ones((3 * people, 1)), "found": np.ones((3 * people, 1))}
    return Table(
        cases=cases,
        portraits={**rows, "gauge/attribute": attribute, "background": colour},
        references={"who": owner[:, None].astype(float)},
        targets={"who": owner[:, None].astype(float)},
        others={"who": owner[:, None].astype(float)},
        prompts=tuple(PROMPTS[case.prompt] for case in cases),
        owner=owner,
    )


@pytest.mark.parametrize("what", ["references", "targets"])
def test_nobody_keeps_their_own_and_a_person_gets_one_persons(what):
    one = table()
    other = shuffled(one, what)
    given = getattr(other, what)["who"][:, 0].reshape(4, 3)
    assert (given == given[:, :1]).all() and sorted(given[:, 0]) == [0, 1, 2, 3]
    assert (given[:, 0] != np.arange(4)).all()
    assert other.portraits is one.portraits
    if what == "references":
        assert (other.owner == other.references["who"][:, 0]).all()


def test_exchanged_prompts_keep_their_number():
    one = table()
    assert shuffled(one, "prompts").prompts == one.prompts  # everyone has the same three
    assert shuffled(one, "prompts").targets is one.targets


def test_obedience_is_the_difference_to_the_denying_prompt():
    values, about = obedience(table(), ("hat",))
    assert about.tolist() == [True, False, False] * 4
    assert values[::3] == pytest.approx([0.7] * 4)
    values, about = obedience(table(), ("glasses",))
    assert not about.any()


def test_backgrounds_are_asked_for_by_name():
    values, about = background_obeyed(table())
    assert about.tolist() == [False, False, True] * 4 and values[2::3].tolist() == [1.0] * 4


def faced(one):
    """The targets have faces, the portraits none."""
    widths = {"params/rotation": 3, "params/expression": 2, "gauge/rotation": 3, "gauge/expression": 2}
    targets = {name: np.zeros((12, width)) for name, width in widths.items()}
    return replace(one, targets={**one.targets, **targets})


def test_an_attribute_is_obeyed_where_asked_for_and_where_denied():
    """Asked for, 0.9 is right; denied, 0.2 is right, and 0.7 is wrong; the third prompt says nothing of hats."""
    one = faced(table())
    attribute = one.portraits["gauge/attribute"].copy()
    attribute[4] = 0.7
    one = replace(one, portraits={**one.portraits, "gauge/attribute": attribute})
    found = {each.rule.name: each for each in columns(one, Judges((), None, (), ("hat", "beard")))}
    assert "obeyed: beard" not in found
    assert found["obeyed: hat"].applies.tolist() == [True, True, False] * 4
    assert found["obeyed: hat"].values[[0, 1, 4]].tolist() == [1.0, 1.0, 0.0]


def test_yaw_and_gestures_are_held_against_the_targets():
    """Yaw is off by 10 degrees; those beyond 40 do not count; the smile follows, the mouth does the opposite."""
    one, turn = faced(table()), np.radians(np.linspace(-30, 50, 12))
    smile, mouth = np.linspace(0, 1, 12), np.sin(np.arange(12.0))
    zero = np.zeros(12)
    targets = {
        "params/rotation": np.stack([zero, turn, zero], 1),
        "gauge/expression": np.stack([mouth, smile], 1),
    }
    portraits = {
        "params/rotation": np.stack([zero, turn + np.radians(10), zero], 1),
        "gauge/expression": np.stack([1 - mouth, 2 * smile], 1),
    }
    one = replace(one, targets=one.targets | targets, portraits=one.portraits | portraits)
    judges = Judges((), None, (), (), gestures=("jaw_open", "smile"))
    found = {each.rule.name: each for each in columns(one, judges)}
    assert found["yaw, degrees"].values == pytest.approx(10.0)
    assert found["yaw, degrees"].applies.sum() == 10
    assert found["correlation of smile (gauge)"].values.mean() == pytest.approx(1.0)
    assert found["correlation of mouth opening (gauge)"].values.mean() == pytest.approx(-1.0)
    assert "correlation of smile" not in found


def test_columns_of_what_nobody_saw_are_missed():
    one = faced(table())
    found = {each.rule.name: each for each in columns(one, Judges((), None, ("smile", "jawOpen"), ("hat",)))}
    for name in ("Shape", "Expr", "Expr without eyelids and jaw", "Pose, degrees", "Expr (gauge)"):
        assert np.isnan(found[name].values).all()
    assert found["no face"].values.tolist() == [0.0] * 12


def test_rows_without_a_face_are_not_numbers():
    rows = stacked([{"a": np.array([1.0, 2.0])}, {}])
    assert rows["a"][0].tolist() == [1.0, 2.0] and np.isnan(rows["a"][1]).all()
    both = joined([rows | {"drawn": np.ones((2, 1))}, {"drawn": np.zeros((1, 1))}])
    assert (
        both["a"].shape == (3, 2)
        and np.isnan(both["a"][2]).all()
        and both["drawn"][:, 0].tolist() == [1, 1, 0]
    )
