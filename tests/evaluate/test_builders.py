"""Builders on folders of made-up files: what counts here is who is chosen, not what is in the photos."""

import pytest

from diffpc.errors import InputError, UsageError
from diffpc.evaluate.builders import build, folder_of_persons, folder_of_photos, listed_pages, official_split
from diffpc.evaluate.manifest import read_manifest
from diffpc.evaluate.options import Plan

PLAN = Plan(persons=4, targets=2, prompts=3, seeds=2)


@pytest.fixture
def photos(tmp_path):
    """Six persons; the last two have one photo, and one of Ada's shows nobody."""
    for number, name in enumerate(["Ada", "Bob", "Cyd", "Dan", "Eve", "Fay"]):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for photo in range(1 if number > 3 else 3):
            (tmp_path / "photos" / name / f"{photo}.jpg").write_bytes(f"{name} {photo}".encode())
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


def usable(path):
    return path.as_posix().endswith("Ada/0.jpg") is False


def made(photos, output, plan=PLAN, works=usable):
    return build(folder_of_persons(photos), photos, plan, works, output, "test")


def test_persons_with_two_photos_come_first_and_pose_for_others(photos, tmp_path):
    manifest = made(photos, tmp_path / "m.jsonl")
    assert {one.person for one in manifest.people} == {"Ada", "Bob", "Cyd", "Dan"}
    for one in manifest.people:
        assert one.other is not None and one.other != one.reference
        assert one.reference.path.startswith(one.person)
        owners = {target.path.split("/")[0] for target in one.targets}
        assert len(owners) == 2 and one.person not in owners
    ada = next(one for one in manifest.people if one.person == "Ada")
    assert (ada.reference.path, ada.other.path) == ("Ada/1.jpg", "Ada/2.jpg")
    assert len(manifest.cases()) == 4 * 2 * 3 * 2


def test_the_same_photos_give_the_same_file_and_another_seed_another(photos, tmp_path):
    one, two = made(photos, tmp_path / "m.jsonl"), made(photos, tmp_path / "again" / "m.jsonl")
    assert one.digest == two.digest == read_manifest(tmp_path / "m.jsonl").digest
    other = made(photos, tmp_path / "m.jsonl", Plan(persons=4, targets=2, prompts=3, seeds=2, seed=1))
    assert other.digest != one.digest


def test_a_smaller_benchmark_is_the_beginning_of_a_larger_one(photos, tmp_path):
    large = made(photos, tmp_path / "m.jsonl")
    small = made(photos, tmp_path / "m.jsonl", Plan(persons=2, targets=2, prompts=3, seeds=2))
    assert small.people == large.people[:2]


def test_too_few_persons_or_photos(photos, tmp_path):
    with pytest.raises(InputError, match="6 persons have a usable photo"):
        made(photos, tmp_path / "m.jsonl", Plan(persons=7))
    with pytest.raises(InputError, match="only 5 usable photos of others"):
        made(photos, tmp_path / "m.jsonl", Plan(persons=1, targets=6), lambda path: True)
    with pytest.raises(UsageError, match="give at least 1"):
        made(photos, tmp_path / "m.jsonl", Plan(persons=0))


def test_one_photo_per_person(tmp_path):
    for number in range(3):
        (tmp_path / f"{number:05d}.png").write_bytes(b"x")
    assert [one.person for one in folder_of_photos(tmp_path)] == ["00000", "00001", "00002"]
    with pytest.raises(InputError, match="holds no photo"):
        folder_of_persons(tmp_path)


def test_photos_of_listed_pages(tmp_path):
    names = ["abcdefghijk", "A-c_efGhij9", "notfetched1"]
    pages = ["https://unsplash.com/photos/a-man-abcdefghijk", "https://unsplash.com/photos/A-c_efGhij9/"]
    (tmp_path / "list.txt").write_text("\n".join([*pages, f"https://unsplash.com/photos/{names[2]}"]))
    (tmp_path / "photos").mkdir()
    for name in (f"jane-doe-{names[0]}-unsplash.jpg", f"{names[1]}.png"):
        (tmp_path / "photos" / name).write_bytes(b"x")
    found = listed_pages(tmp_path / "photos", tmp_path / "list.txt")
    assert [one.person for one in found] == names[:2]
    with pytest.raises(InputError, match="cannot be read"):
        listed_pages(tmp_path, tmp_path / "none.txt")


def test_an_official_split_names_folders_only(photos, tmp_path):
    (tmp_path / "people.txt").write_text("3\nAda\t3\nZoe\t1\n../Bob\t2\n")
    assert [one.person for one in official_split(photos, tmp_path / "people.txt")] == ["Ada"]
