"""Whole scores of systems whose answers are known: one draws the reference, one the target, one nothing."""

import shutil

import numpy as np
import pytest

from diffpc.errors import InputError
from diffpc.evaluate.options import ScoreOptions
from diffpc.evaluate.report import report
from diffpc.evaluate.score import load_scores, score
from diffpc.evaluate.tables import Cell, Named, figures_csv, main_table, markdown, part_table
from diffpc.images import read_image, write_png


def pictures(benchmark, folder, choose):
    """A folder of any system: PNGs by the manifest's names."""
    for case in benchmark.manifest.cases():
        if photo := choose(case):
            write_png(folder / case.name, read_image(benchmark.photos / photo.path))
    return folder


def run(benchmark, folder):
    return score(benchmark.manifest, benchmark.photos, folder, ScoreOptions(), lambda line: None)


@pytest.fixture(scope="module")
def copies(benchmark, tmp_path_factory):
    """The reference itself as every portrait."""
    folder = tmp_path_factory.mktemp("copies")
    return pictures(benchmark, folder, lambda case: case.of.reference)


@pytest.fixture(scope="module")
def copied(benchmark, copies):
    return Named("copies", run(benchmark, copies))


@pytest.fixture(scope="module")
def posed(benchmark, tmp_path_factory):
    """The target itself; the first person's portraits are missing."""
    folder = tmp_path_factory.mktemp("posed")
    nobody = benchmark.manifest.people[0].person
    return folder, Named(
        "posed",
        run(
            benchmark,
            pictures(benchmark, folder, lambda c: None if c.of.person == nobody else c.of.targets[c.target]),
        ),
    )


def test_a_copy_is_the_person_and_a_copy(copied):
    for name in ("dlib", "judge"):
        assert copied.figure(f"Sim ({name})").value == pytest.approx(100, abs=1e-3)
        assert copied.figure(f"top-1 ({name})").value == 100
        assert copied.figure(f"copy score ({name})").value == pytest.approx(1.0, abs=1e-2)
    assert copied.figure("Shape").value == pytest.approx(0.0, abs=1e-6)
    assert copied.figure("Pose").value > 0 and copied.figure("not drawn").value == 0


def test_the_target_has_the_pose_and_missing_pictures_count(posed):
    _, named = posed
    for name in ("Pose", "Expr", "Pose, degrees (gauge)", "Expr (gauge)"):
        figure = named.figure(name)
        assert figure.value == pytest.approx(0.0, abs=1e-3)
        assert (figure.count, figure.missed, figure.policy) == (8, 4, "left out")
    assert named.figure("not drawn").value == pytest.approx(100 / 3)
    sim = named.figure("Sim (dlib)")
    assert (sim.count, sim.missed, sim.policy) == (12, 4, "counted as 0")


def test_what_cannot_be_had_says_what_it_needs(copied):
    for name in ("CLIP_i", "CLIP_t", "FID", "KID x 1000", "seconds per portrait"):
        figure = copied.figure(name)
        assert figure.value is None and figure.note.startswith("not available: needs ")


def test_controls_exchange_persons(copied, posed):
    table = {(one.shuffled, one.figure.name): one for one in copied.scores.controls}
    assert table["references", "top-1 (dlib)"].control.value == 0
    assert table["references", "Sim (judge)"].control.value < 100
    table = {(one.shuffled, one.figure.name): one for one in posed[1].scores.controls}
    assert table["targets", "Pose"].control.value > 1


def test_two_runs_are_the_same_and_the_second_recalls(benchmark, copies, copied, tmp_path):
    path = copies / "scores" / "scores.json"
    before = path.read_bytes()
    assert run(benchmark, copies) == copied.scores == load_scores(copies)
    assert path.read_bytes() == before
    shutil.copytree(copies, tmp_path / "again", ignore=shutil.ignore_patterns("scores"))
    run(benchmark, tmp_path / "again")
    assert (tmp_path / "again" / "scores" / "scores.json").read_bytes() == before


def test_pictures_of_another_benchmark_are_refused(benchmark, tmp_path):
    (tmp_path / "system.json").write_text('{"manifest": "other"}')
    with pytest.raises(InputError, match="of another benchmark"):
        run(benchmark, tmp_path)


def test_tables_mark_the_best(copied, posed):
    systems = [copied, posed[1]]
    rows = main_table(systems)
    names = [cell.text for cell in rows[0]]
    sim, pose = names.index("Sim (dlib) ↑"), names.index("Pose ↓")
    assert rows[2][sim].best and not rows[3][sim].best
    assert rows[3][pose].best and not rows[2][pose].best
    assert rows[1][pose].text == "5.60" and rows[2][names.index("FID ↓")].text == "n/a"
    assert any(row[0].text == "Expr (gauge) ↓" for row in part_table(systems, "pose and expression"))
    assert markdown([[Cell("a")], [Cell("b|c", True)]]) == "| a |\n|---|\n| **b\\|c** |"
    assert figures_csv(systems).count("\nposed,identity,Shape,") == 1


def test_the_report_is_whole_and_the_same_again(benchmark, copies, copied, posed, tmp_path):
    systems = {"copies": copies, "posed": posed[0]}
    files = report(systems, benchmark.manifest, benchmark.photos, tmp_path / "one")
    report(systems, benchmark.manifest, benchmark.photos, tmp_path / "two")
    assert [path.name for path in files] == [
        "report.html",
        "report.md",
        "figures.csv",
        "portraits-copies.csv",
        "portraits-posed.csv",
    ]
    for path in files:
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    page = files[0].read_text()
    assert "data:image/jpeg" in page and "<svg" in page and "failures: not drawn" in page
    assert 'src="http' not in page and "<script" not in page
    rows = files[3].read_text().splitlines()
    assert len(rows) == 13 and rows[0].startswith("portrait,") and "Sim (judge)" in rows[0]


def test_nobody_there(copied):
    """A picture without a face has no similarity and counts."""
    assert np.isfinite(copied.figure("no face").value)
