"""Manifests: the same bytes again, and refusals of what would lead out of the folder."""

import json

import pytest

from diffpc.errors import InputError, UsageError
from diffpc.evaluate.manifest import (
    Person,
    PhotoFile,
    Prompt,
    checked_photo,
    encode,
    parse,
    read_manifest,
    write_manifest,
)
from diffpc.evaluate.prompts import PROMPT_SETS, prompts_for
from diffpc.weights import sha256


def person(**changes):
    given = {
        "person": "Ada",
        "reference": PhotoFile("Ada/1.jpg", "aa"),
        "targets": (PhotoFile("Bob/1.jpg", "bb"), PhotoFile("Eve/1.jpg", "cc")),
        "prompts": (Prompt("a hat", ("hat",)), Prompt("no hat", (), ("hat",))),
        "seeds": (0, 5, 7),
        "other": PhotoFile("Ada/2.jpg", "dd"),
    }
    return Person(**{**given, **changes})


def test_a_manifest_comes_back_and_has_the_hash_of_its_file(tmp_path):
    written = write_manifest(tmp_path / "m.jsonl", "m", "photos", (person(), person(person="Bo", other=None)))
    read = read_manifest(tmp_path / "m.jsonl")
    assert read == written and read.digest == sha256(tmp_path / "m.jsonl")
    assert encode("m", "photos", read.people) == (tmp_path / "m.jsonl").read_bytes()


def test_every_target_with_every_prompt_and_seed():
    cases = parse(encode("m", "", (person(),)), "m").cases()
    assert len(cases) == 2 * 2 * 3 and len({case.name for case in cases}) == 12
    assert (cases[0].name, cases[-1].name) == ("Ada/t0-p0-s0.png", "Ada/t1-p1-s2.png")


def test_every_photo_once():
    photos = parse(encode("m", "", (person(), person(person="Bo"))), "m").photos()
    assert [photo.path for photo in photos] == ["Ada/1.jpg", "Ada/2.jpg", "Bob/1.jpg", "Eve/1.jpg"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"person": "../up"}, "'../up' is no name"),
        ({"person": "a/b"}, "'a/b' is no name"),
        ({"reference": PhotoFile("/etc/passwd", "")}, "'/etc/passwd' is no name"),
        ({"targets": (PhotoFile("a/../../b", ""),)}, r"'a/\.\./\.\./b' is no name"),
        ({"targets": ()}, "Ada has no target, prompt or seed"),
    ],
)
def test_what_leads_out_of_the_folder_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        parse(encode("m", "", (person(**changes),)), "m")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no benchmark of version 1"),
        (b"{\n", "m:1: is not JSON"),
        (b"[1]\n", "m:1: is not an object"),
        (b'{"version": 1}\n', "names nobody"),
        (b'{"version": 1}\n{"person": "a"}\n', "m:2 is incomplete"),
    ],
)
def test_broken_files_are_named(data, message):
    with pytest.raises(InputError, match=message):
        parse(data, "m")


def test_a_person_twice_is_refused():
    with pytest.raises(InputError, match="a person twice"):
        parse(encode("m", "", (person(), person())), "m")


def test_unknown_fields_are_refused():
    lines = encode("m", "", (person(),)).splitlines()
    changed = json.dumps({**json.loads(lines[1]), "extra": 1}).encode()
    with pytest.raises(InputError, match="unknown field 'extra'"):
        parse(lines[0] + b"\n" + changed, "m")


def test_a_changed_photo_is_noticed(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    photo = PhotoFile("a.jpg", sha256(tmp_path / "a.jpg"))
    assert checked_photo(tmp_path, photo) == tmp_path / "a.jpg"
    (tmp_path / "a.jpg").write_bytes(b"two")
    with pytest.raises(InputError, match="another photo than the benchmark's"):
        checked_photo(tmp_path, photo)
    with pytest.raises(InputError, match="is missing"):
        checked_photo(tmp_path, PhotoFile("b.jpg", ""))


@pytest.mark.parametrize("name", PROMPT_SETS)
def test_a_person_gets_both_sides_of_a_contrast_and_scenes(name):
    given = prompts_for("Ada", 4, name, 0)
    assert given == prompts_for("Ada", 4, name, 0) and len(set(given)) == 4
    assert set(given[0].asks) & set(given[1].denies)
    everyone = {prompts_for(str(number), 2, name, 0)[0] for number in range(200)}
    assert everyone == {first for first, _ in PROMPT_SETS[name].contrasts}


def test_what_prompts_ask_for_can_be_judged():
    from diffpc.evaluate.background import COLOURS
    from diffpc.evaluate.gauge import load_gauge

    known = {*load_gauge().settings.attributes, *(f"background_{colour}" for colour in COLOURS)}
    for chosen in PROMPT_SETS.values():
        for prompt in (*(side for pair in chosen.contrasts for side in pair), *chosen.scenes):
            assert {*prompt.asks, *prompt.denies} <= known


def test_too_many_prompts_and_unknown_sets():
    with pytest.raises(UsageError, match="has 1 to 26"):
        prompts_for("Ada", 27, "varied", 0)
    with pytest.raises(UsageError, match="choose one of: varied, plain"):
        prompts_for("Ada", 3, "odd", 0)
