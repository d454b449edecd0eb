"""Ablations: which variants, which directions, and the whole command at toy length."""

import json
from dataclasses import replace

import pytest

from diffpc.cli import main
from diffpc.evaluate.ablation import FULL, ROWS, ablation_tables, difference, direction, variants
from diffpc.evaluate.score import Entry, Scores
from diffpc.evaluate.stats import Figure
from diffpc.presets import tiny
from tests.train.people import encoded, portrait, write_folders


def test_every_row_of_the_tables_has_a_variant_that_differs_in_one_respect():
    found = variants(tiny().adapter)
    assert {name for rows in ROWS.values() for name in rows} == set(found)
    full = found[FULL]
    assert (
        full.identity_loss and full.same_person_pairs and full.adapter == replace(tiny().adapter, skin=False)
    )
    assert found["skin"].adapter == replace(full.adapter, skin=True)
    assert not found["no_identity_loss"].identity_loss and found["no_identity_loss"].adapter == full.adapter
    assert not found["no_pairs"].same_person_pairs and found["no_pairs"].identity_loss
    assert found["local"].adapter.identity == "local" and found["id_ctrl"].adapter.injector == "additive"


def test_with_skin_every_variant_is_told_it():
    plain, found = variants(tiny().adapter), variants(tiny().adapter, skin=True)
    assert set(plain) - set(found) == {"skin"}
    assert all(one.adapter == replace(plain[name].adapter, skin=True) for name, one in found.items())


@pytest.mark.parametrize(
    ("low", "high", "paper", "way"),
    [
        (0.5, 1.5, (65.0, 68.0), "same"),
        (0.5, 1.5, (68.0, 65.0), "other"),
        (-1.5, -0.5, (68.0, 65.0), "same"),
        (-0.5, 1.5, (65.0, 68.0), "open"),
        (None, None, (65.0, 68.0), ""),
    ],
)
def test_directions(low, high, paper, way):
    value = None if low is None else (low + high) / 2
    assert direction(Figure("a difference", value, low, high), paper) == way


def scores(*values):
    """Of two portraits each of two persons."""
    names = ("ada/0.png", "ada/1.png", "bob/0.png", "bob/1.png")
    entries = (
        Entry("identity", Figure("Sim (dlib)", values[0], values[0] - 0.1, values[0] + 0.1)),
        Entry("identity", Figure("CLIP_i", None)),
    )
    return Scores("b", "m", "", {}, "w", entries, (), names, {"Sim (dlib)": list(values)})


def test_differences_are_between_portraits_of_the_same_wish():
    found = difference(scores(1.0, 5.0, 9.0, None), scores(2.0, 6.0, 12.0, 4.0), "Sim (dlib)")
    assert (found.value, found.count, found.low, found.high) == (pytest.approx(5 / 3), 3, 1, 3)
    assert difference(scores(1.0, 5.0, 9.0, 2.0), scores(2.0, 6.0, 12.0, 4.0), "Pose") is None


def test_the_tables_stand_beside_the_papers():
    text = ablation_tables({"local": scores(1.0, 50.0, 9.0, 7.0), FULL: scores(2.0, 51.0, 11.0, 9.0)})
    assert "| local | 1.0 [0.9, 1.1] | 65.2 | same +1.5 [+1.0, +2.0] | n/a | 65.5 |  |" in text
    assert "Table 6" not in text and "| skin |" not in text
    text = ablation_tables({"skin": scores(3.0, 3.0, 3.0, 3.0), FULL: scores(2.0, 2.0, 2.0, 2.0)})
    row = "| with | 3.0 [2.9, 3.1] |  | -1.0 [-1.0, -1.0] | n/a |  |  |"
    assert row in text.partition("Not in the paper")[2]


@pytest.mark.usefixtures("other_precision")
def test_one_command_trains_draws_and_scores(one_person, astronaut, tmp_path, capsys):
    files = {f"{name}/{n}.jpg": encoded(portrait(astronaut, n)) for name in ("dan", "eve") for n in (0, 1)}
    data = write_folders(tmp_path / "data", files)
    words = [
        "evaluate",
        "ablate",
        "--manifest",
        one_person.path,
        "--photos",
        one_person.photos,
        "--data",
        data,
    ]
    words += [
        "--output",
        tmp_path / "out",
        "--images",
        4,
        "--batch",
        2,
        "--precision",
        "bfloat16",
        "--only",
        "id_ctrl",
        "full",
        "--quiet",
    ]
    assert main([str(word) for word in words]) == 0
    text = capsys.readouterr().out
    assert "## Table 5: control" in text and (tmp_path / "out" / "ablations.md").read_text() in text
    system = json.loads((tmp_path / "out" / "id_ctrl" / "pictures" / "system.json").read_text())
    assert system["system"]["name"] == "diffpc"
    config = json.loads((tmp_path / "out" / "id_ctrl" / "model" / "id_injectors" / "config.json").read_text())
    assert "additive" in json.dumps(config)
    (state,) = (tmp_path / "out" / "id_ctrl" / "run").glob("checkpoint-*/state.json")
    assert json.loads(state.read_text())["settings"]["precision"] == "bfloat16"
    assert main(["evaluate", "ablate", *map(str, words[2:-2]), "nonsense", "--quiet"]) == 2
