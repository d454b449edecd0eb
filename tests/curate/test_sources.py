from pathlib import Path

import pytest

from diffpc.curate.sources import IMDB_COLUMNS, downloaded, is_table, list_photos, read_links
from diffpc.errors import InputError
from tests.train.people import write_folders, write_shard

IMDB = """name,index,image,rect,height width,url
Ada L.,nm0001,a.jpg,10 20 30 60,200 100,http://a.example/a.jpg
"Bob, Jr.",nm0002,b.jpg,1 2 3 4,50 50,https://b.example/b.jpg?x=1
"""


def test_folders_with_attributes(tmp_path):
    root = write_folders(tmp_path / "photos", {"ada/1.jpg": b"one", "bob/2.png": b"photo two"})
    table = tmp_path / "known.csv"
    table.write_text("image,age,gender\n1.jpg,30,woman\nbob/2.png,40,\n")
    first, second = list_photos(root, table)
    assert (first.key, first.person, first.size, first.attributes) == (
        "ada/1.jpg", "ada", 3, {"age": "30", "gender": "woman"},
    )  # fmt: skip
    assert second.attributes == {"age": "40"}
    table.write_text("image,age\nnobody.jpg,30\n")
    with pytest.raises(InputError, match=r"names no photo of .*; write paths like 'ada/1.jpg'"):
        list_photos(root, table)
    table.write_text("age\n30\n")
    with pytest.raises(InputError, match="row 1 names no photo"):
        list_photos(root, table)


def test_shards_are_read_where_they_lie(tmp_path):
    write_shard(tmp_path / "00000.tar", [(b"photo", {"person": "ada"}, None)])
    (photo,) = list_photos(tmp_path)
    with Path(photo.file).open("rb") as stream:
        stream.seek(photo.offset)
        assert stream.read(photo.size) == b"photo"


def test_imdb_face(tmp_path):
    file = tmp_path / "IMDb-Face.csv"
    file.write_text(IMDB)
    assert is_table(file) and not is_table(tmp_path)
    first, second = read_links(file)
    assert (first.person, first.rect, first.rect_frame) == ("nm0001", (10.0, 20.0, 30.0, 60.0), (100, 200))
    assert (second.row, second.key, second.url) == (2, "000000002", "https://b.example/b.jpg?x=1")
    photo = tmp_path / "photo"
    photo.write_bytes(b"content")
    (listed,) = downloaded([first, second], {second.key: photo})
    assert (listed.key, listed.size, listed.address, listed.rect) == (second.key, 7, second.url, second.rect)
    assert list(IMDB_COLUMNS) == IMDB.splitlines()[0].split(",")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,url\nada,\n", "row 1 lacks a name or an address"),
        ("name,link\nada,http://x\n", "row 1 lacks a name or an address"),
        (IMDB.replace("10 20 30 60", "10 20 30"), "rect is '10 20 30', expected 4 numbers"),
        (IMDB.replace("200 100", "tall wide"), "height width is 'tall wide', expected 2 numbers"),
        (IMDB.replace("1 2 3 4", "3 2 1 4"), "row 2 has an empty rectangle"),
        (IMDB.replace("http://a.example", "http://" + "a" * 5000), "row 1 lacks"),
        ("name,url\nada,http://x,more\n", "row 1 has more cells than columns"),
    ],
)
def test_damaged_tables(tmp_path, text, message):
    file = tmp_path / "links.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_links(file)


def test_a_plain_table_needs_names_and_addresses_only(tmp_path):
    file = tmp_path / "links.csv"
    file.write_text("name,url\nada,http://x/1\n")
    (link,) = read_links(file)
    assert (link.person, link.url, link.rect) == ("ada", "http://x/1", None)
