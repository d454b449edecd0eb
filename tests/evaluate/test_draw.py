"""Drawing: names, resumption, refusals, and Diff-PC as a system."""

import numpy as np
import pytest

from diffpc.errors import InputError, UsageError
from diffpc.evaluate.draw import LOG, Drawn, Part, System, draw
from diffpc.evaluate.options import ModelChoice
from diffpc.evaluate.system import DiffPCSystem
from diffpc.images import read_image
from diffpc.provenance import read_settings
from diffpc.records import append_line, read_lines
from diffpc.weights import sha256
from tests.pipelines import random_pipeline, write_lora


class Painter:
    """Draws plain pictures, nobody with a given name, and stops after a number of them."""

    def __init__(self, stop_after=None, without=None, name="painter"):
        self.stop_after, self.without, self.name, self.asked = stop_after, without, name, []

    def describe(self):
        return {"name": self.name}

    def draw(self, cases, photos):
        for case in cases:
            if self.stop_after == len(self.asked):
                raise KeyboardInterrupt
            self.asked.append(case.name)
            image = np.full((8, 8, 3), len(case.name), np.uint8)
            missing = case.of.person == self.without
            yield Drawn(case, None if missing else image, {"paint": 0.5}, "nobody there" if missing else None)


def run(benchmark, system, folder):
    return draw(benchmark.manifest, benchmark.photos, system, folder, lambda line: None)


def test_every_portrait_has_its_place_and_its_line(benchmark, tmp_path):
    painter = Painter()
    assert isinstance(painter, System)
    done = run(benchmark, painter, tmp_path)
    assert (done.drawn, done.failed, done.total) == (12, 0, 12)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == sorted(
        painter.asked
    )
    lines = read_lines(tmp_path / LOG)
    assert [line["name"] for line in lines] == painter.asked
    assert [line["warm"] for line in lines] == [False] + [True] * 11
    assert lines[0]["seconds"] == {"paint": 0.5}


def test_a_stopped_run_draws_only_what_is_left(benchmark, tmp_path):
    first, second = Painter(stop_after=5), Painter()
    with pytest.raises(KeyboardInterrupt):
        run(benchmark, first, tmp_path)
    run(benchmark, second, tmp_path)
    assert not set(first.asked) & set(second.asked) and len(first.asked) + len(second.asked) == 12
    third = Painter()
    assert run(benchmark, third, tmp_path).drawn == 12 and third.asked == []


def test_parts_share_a_folder_and_draw_everybody_once(benchmark, tmp_path):
    painters = [Painter(), Painter()]
    for number, painter in enumerate(painters, 1):
        part = Part(number, 2)
        done = draw(benchmark.manifest, benchmark.photos, painter, tmp_path, lambda line: None, part)
    assert done.drawn == 12 and [len(one.asked) for one in painters] == [8, 4]
    assert not set(painters[0].asked) & set(painters[1].asked)


@pytest.mark.parametrize("text", ["", "2", "0/2", "3/2", "a/b", "1/2/3", "-1/2"])
def test_what_is_no_part(text):
    assert Part.parse("2/4") == Part(2, 4)
    with pytest.raises(UsageError, match="is no part"):
        Part.parse(text)


def test_what_cannot_be_drawn_is_noted_and_not_tried_again(benchmark, tmp_path):
    done = run(benchmark, Painter(without="bob"), tmp_path)
    assert (done.drawn, done.failed) == (8, 4)
    again = Painter(without="bob")
    assert run(benchmark, again, tmp_path) == done and again.asked == []
    assert {line["error"] for line in read_lines(tmp_path / LOG)} == {None, "nobody there"}


def test_another_system_may_not_draw_into_the_folder(benchmark, tmp_path):
    run(benchmark, Painter(), tmp_path)
    with pytest.raises(UsageError, match="pictures of another system"):
        run(benchmark, Painter(name="other"), tmp_path)


def test_a_changed_photo_stops_it(benchmark, tmp_path):
    moved = tmp_path / "photos"
    moved.mkdir()
    with pytest.raises(InputError, match="is missing"):
        draw(benchmark.manifest, moved, Painter(), tmp_path / "out", lambda line: None)


def test_a_torn_line_is_left_out_and_the_next_one_is_whole(tmp_path):
    append_line(tmp_path / "l", {"a": 1})
    with (tmp_path / "l").open("a") as stream:
        stream.write('{"a": ')
    append_line(tmp_path / "l", {"a": 2})
    assert read_lines(tmp_path / "l") == [{"a": 1}, {"a": 2}]


def test_diffpc_draws_the_same_picture_again(random_model, one_person, tmp_path):
    """Resumed in the middle of a person, with a model of random weights."""
    choice = ModelChoice(model=str(random_model), steps=1)
    one = DiffPCSystem(choice)
    manifest = one_person.manifest
    cases = list(manifest.people[0].cases())
    run(one_person, one, tmp_path)
    path = tmp_path / cases[1].name
    before = path.read_bytes()
    path.unlink()
    run(one_person, DiffPCSystem(choice), tmp_path)
    assert path.read_bytes() == before
    assert read_image(path).shape == (128, 128, 3)
    assert read_settings(path).prompt == manifest.people[0].prompts[1].text
    described = one.describe()
    assert described["faces"]["embedder"] == "dlib" and len(described["weights"]) == 7
    stages = set(read_lines(tmp_path / LOG)[0]["seconds"])
    assert stages == {"identify", "target", "render", "encode", "denoise", "decode"}
    assert set(read_lines(tmp_path / LOG)[1]["seconds"]) == stages - {"identify", "target"}
    assert not {"fast", "memory", "loras"} & set(described)


def test_what_draws_is_recorded(random_model, tmp_path):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    lora = write_lora(random_pipeline(), tmp_path / "look.safetensors")
    choice = ModelChoice(
        str(random_model), vae=random_model / "vae", lora=(f"{lora}=0.5",), memory=("fp8", "tiling"), steps=1
    )
    system = DiffPCSystem(choice)
    described = system.describe()
    assert (described["memory"], described["loras"]) == (["fp8", "tiling"], [["look.safetensors", 0.5]])
    assert described["weights"]["lora/look.safetensors"] == sha256(lora)
    assert system.pipeline.get_active_adapters() == ["lora_0"] and system.pipeline.vae.use_tiling
    plain = DiffPCSystem(ModelChoice(str(random_model), steps=1)).describe()
    assert {name for name in described["weights"] if name not in plain["weights"]} == {
        "lora/look.safetensors"
    }
    assert described["weights"].items() >= plain["weights"].items()
