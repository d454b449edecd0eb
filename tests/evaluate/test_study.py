"""The study's page and what answers to it say."""

import json

import numpy as np
import pytest

from diffpc.errors import InputError, UsageError
from diffpc.evaluate.study import QUESTIONS, analyse, items, write_study
from diffpc.images import write_png


@pytest.fixture
def systems(benchmark, tmp_path):
    for number, name in enumerate(("ours", "theirs")):
        for case in benchmark.manifest.cases():
            write_png(tmp_path / name / case.name, np.full((32, 32, 3), 90 * number, np.uint8))
    return {"ours": tmp_path / "ours", "theirs": tmp_path / "theirs"}


def test_cases_are_of_many_persons_and_orders_differ(benchmark, systems):
    chosen = items(benchmark.manifest, systems, 3)
    assert len({item.case.of.person for item in chosen}) == 3
    assert chosen == items(benchmark.manifest, systems, 3)
    orders = {item.order for item in items(benchmark.manifest, systems, 12)}
    assert orders == {("ours", "theirs"), ("theirs", "ours")}
    with pytest.raises(UsageError, match="compares 2 to 8 systems, not 1"):
        items(benchmark.manifest, {"ours": systems["ours"]}, 3)


def test_the_page_names_nobody(benchmark, systems, tmp_path):
    chosen = items(benchmark.manifest, systems, 3)
    write_study(benchmark.manifest, benchmark.photos, systems, chosen, tmp_path / "study")
    page = (tmp_path / "study" / "study.html").read_text()
    assert page.count("<section") == 3 and page.count('type="radio"') == 3 * 4 * 2
    assert "ours" not in page.replace("yours", "") and "theirs" not in page and 'src="http' not in page
    assert all(words in page for words in QUESTIONS.values())


def test_votes_are_counted_per_system(benchmark, systems, tmp_path):
    chosen = items(benchmark.manifest, systems, 2)
    write_study(benchmark.manifest, benchmark.photos, systems, chosen, tmp_path)
    key = json.loads((tmp_path / "key.json").read_text())

    def answer(who, wanted):
        replies = {
            item.case.name: {"identity": "AB"[item.order.index(name)]}
            for item, name in zip(chosen, wanted, strict=True)
        }
        (tmp_path / f"{who}.json").write_text(json.dumps({"study": key["study"], "answers": replies}))
        return tmp_path / f"{who}.json"

    answers = [answer("x", ["ours", "ours"]), answer("y", ["ours", "theirs"])]
    figures = {one.name: one for one in analyse(tmp_path / "key.json", answers)}
    assert figures["identity: ours"].value == 75 and figures["identity: theirs"].value == 25
    assert (figures["identity: ours"].low, figures["identity: ours"].high) == (50, 100)
    assert figures["identity: ours"].persons == 2 and figures["text: ours"].value is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": "other"}, "of another study"),
        ({"answers": {"x/t0-p0-s0.png": {"identity": "A"}}}, "does not ask"),
    ],
)
def test_foreign_answers_are_refused(benchmark, systems, tmp_path, changes, message):
    write_study(
        benchmark.manifest, benchmark.photos, systems, items(benchmark.manifest, systems, 2), tmp_path
    )
    study = json.loads((tmp_path / "key.json").read_text())["study"]
    (tmp_path / "a.json").write_text(json.dumps({"study": study, "answers": {}, **changes}))
    with pytest.raises(InputError, match=message):
        analyse(tmp_path / "key.json", [tmp_path / "a.json"])
