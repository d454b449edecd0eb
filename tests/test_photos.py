import json
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from diffpc.errors import InputError, UsageError
from diffpc.photos import Photo, paired, read_photos
from tests.train.people import write_folders, write_shard

FILES = {"bob/2.png": b"bob two", "ada/x.jpg": b"ada x", "ada/y.WEBP": b"ada y", "ada/notes.txt": b"no photo"}


def people(count):
    """As many samples of a shard, of persons 0, 1, 2, 0, 1, ..."""
    return [
        (f"photo {number}".encode() * 50, {"person": f"p{number % 3}", "caption": f"a {number}"}, b"text")
        for number in range(count)
    ]


@pytest.fixture
def folders(tmp_path):
    return write_folders(tmp_path / "data", FILES)


@pytest.fixture
def shards(tmp_path):
    write_shard(tmp_path / "data/00000.tar", people(4))
    write_shard(tmp_path / "data/00007.tar", people(3))
    return tmp_path / "data"


def test_a_folder_per_person(folders):
    write_folders(
        folders, {"stray.jpg": b"in no folder", "empty/readme": b"", ".hidden/a.jpg": b"", "ada/.b.jpg": b""}
    )
    photos = read_photos(folders)
    assert [(photo.key, photo.person, photo.captions) for photo in photos] == [
        ("ada/x.jpg", "ada", ()),
        ("ada/y.WEBP", "ada", ()),
        ("bob/2.png", "bob", ()),
    ]
    assert [photo.read() for photo in photos] == [b"ada x", b"ada y", b"bob two"]


def test_captions_of_a_table(folders, tmp_path):
    (tmp_path / "c.csv").write_text(
        'photo,caption\nada/x.jpg,"a woman, smiling"\n./ada/x.jpg, again \nbob/2.png,\nada/gone.jpg,who\n'
    )
    messages = []
    photos = read_photos(folders, tmp_path / "c.csv", report=messages.append)
    assert [photo.captions for photo in photos] == [("a woman, smiling", "again"), (), ()]
    assert messages == [
        "1 photo with a caption but not there (first: ada/gone.jpg)",
        "2 photos without a caption: the empty prompt stands for it (first: ada/y.WEBP)",
    ]


def test_captions_of_json_lines(folders, tmp_path):
    rows = [{"photo": "bob/2.png", "caption": ["one", "two", ""]}, {"photo": "ada/x.jpg", "caption": "three"}]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    captions = {photo.key: photo.captions for photo in read_photos(folders, tmp_path / "c.jsonl")}
    assert captions == {"ada/x.jpg": ("three",), "ada/y.WEBP": (), "bob/2.png": ("one", "two")}


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("c.csv", "photo,caption,age\nada/x.jpg,a,3\n", InputError, "row 1 has the unknown column 'age'"),
        ("c.csv", "photo\nada/x.jpg\n", InputError, "row 1 lacks a column; the columns are: photo, caption"),
        ("c.csv", "photo,caption\nada/x.jpg,a\nbob/2.png,b,c\n", InputError, "row 2 has the unknown column"),
        ("c.csv", "photo,caption\nx.jpg,a\n", InputError, "names no photo.*'x.jpg'.*like 'ada/x.jpg'"),
        ("c.csv", "photo,caption\n", InputError, "it is empty"),
        ("c.csv", "photo,caption\n,a\n", InputError, "row 1 names no photo"),
        ("c.csv", 'photo,caption\nada/x.jpg,"a\n', InputError, "cannot be read as .csv"),
        ("c.jsonl", "{}\n", InputError, "row 1 lacks a column"),
        ("c.jsonl", "[1]\n", InputError, "row 1 lacks a column"),
        ("c.jsonl", "{\n", InputError, "cannot be read as .jsonl"),
        ("c.jsonl", '{"photo": "ada/x.jpg", "caption": [1]}', InputError, "row 1 has the caption"),
        ("c.yaml", "", UsageError, "ends in .csv or .jsonl"),
    ],
)
def test_captions_that_cannot_be_used_are_refused(folders, tmp_path, name, text, error, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        read_photos(folders, tmp_path / name)


def test_a_missing_captions_file_is_refused(folders, tmp_path):
    with pytest.raises(InputError, match=r"cannot be read as \.csv"):
        read_photos(folders, tmp_path / "none.csv")


def test_shards(shards):
    write_folders(shards, {"00000.parquet": b"not needed", "00000_stats.json": b"{}"})
    photos = read_photos(shards)
    assert [(photo.key, photo.person, photo.captions) for photo in photos] == [
        *[(f"00000000{n}", f"p{n % 3}", (f"a {n}",)) for n in range(4)],
        *[(f"00007000{n}", f"p{n}", (f"a {n}",)) for n in range(3)],
    ]
    assert photos[3].read() == b"photo 3" * 50
    with tarfile.open(shards / "00000.tar") as tar:
        member = tar.getmember("000000003.jpg")
    assert (photos[3].offset, photos[3].size) == (member.offset_data, 350)


def test_captions_of_shards(tmp_path):
    samples = [
        (b"", {"person": 5, "caption": ["one", "two"], "source": "a", "box": [1, 2, 3, 4]}, b"unused"),
        (b"", {"person": "a", "caption": None}, b" from text\n"),
        (b"", {"person": "a", "caption": ""}, None),
    ]
    write_shard(tmp_path / "00001.tar", samples)
    photos = read_photos(tmp_path)
    assert [photo.captions for photo in photos] == [("one", "two"), ("from text",), ()]
    assert [photo.person for photo in photos] == ["5", "a", "a"]


DAMAGES = {
    "in a photo": lambda tar: tar[:700],
    "in a header": lambda tar: tar[: 512 * 4 + 100],
    "between members": lambda tar: tar[: 512 * 2],
    "a header overwritten": lambda tar: tar[: 512 * 2] + b"\xff" * 512 + tar[512 * 3 :],
    "empty": lambda tar: b"",
    "no tar": lambda tar: b"x" * 2000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_refused_or_skipped(shards, damage):
    file = shards / "00000.tar"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.raises(InputError, match=r"00000\.tar: .*; copy or write it again, or skip damaged shards"):
        read_photos(shards)
    messages = []
    photos = read_photos(shards, skip_damaged=True, report=messages.append)
    assert [photo.key for photo in photos] == ["000070000", "000070001", "000070002"]
    assert len(messages) == 1 and messages[0].startswith(f"shard left out: {file}")


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ((None, {"person": "a"}, b"text"), "000030000 lacks its photo"),
        ((b"photo", None, b"text"), "000030000 lacks its json"),
        ((b"photo", {"caption": "a"}, b"text"), "json of 000030000 names no person"),
        ((b"photo", b"[]", b"text"), "json of 000030000 names no person"),
        ((b"photo", b"{", b"text"), "00003.tar: is no whole, uncompressed tar"),
    ],
)
def test_an_incomplete_sample_is_refused(tmp_path, sample, message):
    write_shard(tmp_path / "00003.tar", [sample])
    with pytest.raises(InputError, match=message):
        read_photos(tmp_path)


def test_a_compressed_shard_is_refused(tmp_path):
    with tarfile.open(tmp_path / "00000.tar", "w:gz") as tar:
        tar.add(__file__, "000000000.jpg")
    with pytest.raises(InputError, match=r"00000\.tar: is no whole, uncompressed tar"):
        read_photos(tmp_path)
    with pytest.raises(InputError, match="has no usable shard"):
        read_photos(tmp_path, skip_damaged=True)


def test_a_key_twice_is_refused(shards):
    (shards / "00009.tar").write_bytes((shards / "00007.tar").read_bytes())
    with pytest.raises(InputError, match=r"00009\.tar: repeats the key 000070000 of 00007\.tar"):
        read_photos(shards)


def test_the_index_must_agree_with_the_shards(shards):
    index = {"p0": ["000000003", "000000000", "000070000"], "p1": ["000000001", "000070001"]}
    index["p2"] = ["000000002", "000070002"]
    (shards / "index.json").write_text(json.dumps(index))
    assert len(read_photos(shards)) == 7
    (shards / "index.json").write_text(json.dumps({**index, "p1": ["000000001"], "p9": ["000090000"]}))
    with pytest.raises(InputError, match=r"disagrees with the shards about 2 persons \(first: p1\)"):
        read_photos(shards)
    messages = []
    assert len(read_photos(shards, skip_damaged=True, report=messages.append)) == 7
    assert messages == [
        f"{shards / 'index.json'}: disagrees with the shards about 2 persons (first: p1); the shards count"
    ]
    (shards / "index.json").write_text("[]")
    with pytest.raises(InputError, match="is no index of persons"):
        read_photos(shards)


def test_a_source_is_recognised_by_its_content(shards, folders, tmp_path):
    with pytest.raises(InputError, match="holds both shards and persons' folders"):
        read_photos(folders)  # the same folder as the shards'
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="holds neither shards nor persons' folders"):
        read_photos(tmp_path / "nothing")
    with pytest.raises(InputError, match="cannot be listed"):
        read_photos(tmp_path / "not there")


def test_a_captions_file_beside_shards_is_refused(shards, tmp_path):
    with pytest.raises(UsageError, match="shards hold their captions"):
        read_photos(shards, tmp_path / "c.csv")


def test_photos_that_vanish_or_shrink_are_named(folders):
    photo = read_photos(folders)[0]
    photo.file.write_bytes(b"ada")
    with pytest.raises(InputError, match=r"ada/x\.jpg: was cut short after it was listed"):
        photo.read()
    photo.file.unlink()
    with pytest.raises(InputError, match=r"ada/x\.jpg: cannot be read"):
        photo.read()


def test_persons_with_one_photo_are_left_out():
    photo = Photo("", "", (), Path(), 0)
    photos = [
        replace(photo, key=str(number), person=name, offset=number) for number, name in enumerate("abacdbe")
    ]
    kept, messages = paired(photos)
    assert [one.key for one in kept] == ["0", "1", "2", "5"]
    assert messages == ["3 persons with a single photo left out"]
    assert paired(kept) == (kept, [])
    assert paired(photos[:3])[1] == ["1 person with a single photo left out"]
    assert Counter(one.person for one in kept) == {"a": 2, "b": 2}
    with pytest.raises(InputError, match="none of 2 persons has two usable photos"):
        paired(photos[3:5])


def test_a_mirror_image_is_not_another_photo():
    photo = Photo("x", "a", ("a man", "left, looking to the right", "cleft"), Path("x.jpg"), 7)
    mirrored, said = photo.mirror(), ("a man", "right, looking to the left", "cleft")
    assert mirrored == replace(photo, key="x mirrored", captions=said, mirrored=True)
    assert mirrored.source == photo.source != replace(photo, offset=1).source
    with pytest.raises(InputError, match="none of 1 persons"):
        paired([photo, mirrored])
