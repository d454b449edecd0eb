import hashlib

import pytest

from diffpc.external.asset import Asset, File, Hub, Licence
from diffpc.external.table import ASSETS
from diffpc.external.verify import look, overall, verify

CONTENT = b"weights"
FREE = Licence("MIT", "yes")


def asset(*files):
    return Asset("one", "to test", files, Hub("owner/name"), FREE, "nothing")


KNOWN = File("a.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
UNKNOWN = File("b.bin")


@pytest.fixture
def both(tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    (tmp_path / "b.bin").write_bytes(CONTENT)
    return tmp_path


def test_a_known_hash_makes_it_ok_and_an_unknown_one_never(both):
    assert [one.state for one in verify(asset(KNOWN, UNKNOWN), both)] == ["ok", "present, hash unknown"]
    assert overall(verify(asset(KNOWN), both)) == "ok"
    assert overall(verify(asset(KNOWN, UNKNOWN), both)) == "present, hash unknown"


def test_looking_hashes_nothing(both):
    (both / "a.bin").write_bytes(b"another")  # of the same length
    assert [one.state for one in look(asset(KNOWN, UNKNOWN), both)] == ["present", "present"]
    found = verify(asset(KNOWN), both)[0]
    assert found.state == "wrong"
    assert found.detail == (
        f"is another file: its sha256 is {hashlib.sha256(b'another').hexdigest()}, expected {KNOWN.sha256}"
    )


def test_sizes_are_told_without_hashing(both):
    (both / "a.bin").write_bytes(CONTENT[:3])
    assert look(asset(KNOWN), both)[0].detail == "is cut short: 3 of 7 bytes"
    (both / "a.bin").write_bytes(CONTENT * 2)
    assert look(asset(KNOWN), both)[0].detail == "has 14 bytes, expected 7"
    (both / "a.bin").unlink()
    (both / "a.bin").mkdir()
    assert look(asset(KNOWN), both)[0].detail == "is no file"


def test_states_of_several_files_add_up(both):
    (both / "b.bin").unlink()
    assert overall(look(asset(KNOWN, UNKNOWN), both)) == "incomplete"
    assert overall(verify(asset(KNOWN, UNKNOWN), both)) == "incomplete"
    assert overall(look(asset(UNKNOWN), both)) == "absent"
    (both / "a.bin").write_bytes(b"")
    assert overall(look(asset(KNOWN, UNKNOWN), both)) == "wrong"


@pytest.mark.parametrize(
    "place", ["antelopev2", "antelopev2/antelopev2", "models/antelopev2/antelopev2", "."]
)
def test_a_pack_is_found_where_users_put_it(tmp_path, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "glintr100.onnx").write_bytes(b"x")
    found = {one.file.name: one for one in look(ASSETS["antelopev2"], tmp_path)}
    assert found["glintr100.onnx"].path == tmp_path / place / "glintr100.onnx"
    assert found["glintr100.onnx"].detail == "is cut short: 1 of 260665334 bytes"
    assert found["genderage.onnx"].path == tmp_path / "models" / "antelopev2" / "genderage.onnx"
    assert found["genderage.onnx"].state == "absent"
