"""A file is written whole or not at all."""

import os
from pathlib import Path

import pytest

from diffpc.errors import InputError
from diffpc.files import atomic_write


def test_writes_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    with atomic_write(path) as stream:
        stream.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_under_the_name_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    with atomic_write(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
    assert path.exists()


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "file.bin") as stream:
            stream.write(b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file.bin").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["folder", "plain/file.bin", "a" * 300])
def test_impossible_names_are_input_errors(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="cannot be written"), atomic_write(tmp_path / name) as stream:
        stream.write(b"x")
    assert sorted(tmp_path.rglob("*")) == before
