"""The package's own files are found; a file or folder is written whole or not at all."""

import os
from pathlib import Path

import pytest

from diffpc.errors import InputError
from diffpc.files import asset, atomic_path, atomic_write


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


def test_a_folder_replaces_a_folder_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder"
    for content in ("old", "new"):
        with atomic_path(path) as temporary:
            (temporary / "deep").mkdir(parents=True)
            (temporary / "deep" / content).write_text(content)
            assert not (path / "deep" / content).exists()
        assert [file.name for file in path.rglob("*")] == ["deep", content]
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.mkdir()
        (temporary / "half").write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(InputError, match="cannot be written"), atomic_path(path):
        pass  # nothing that could be renamed
    assert sorted(tmp_path.rglob("*")) == [path, path / "old"]


def test_a_folder_replaces_no_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(InputError, match="cannot be written"), atomic_path(path) as temporary:
        temporary.mkdir()
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "old"


@pytest.mark.parametrize("name", ["no_such_asset", "../errors.py", "/etc/hostname"])
def test_absent_asset(name: str) -> None:
    with pytest.raises(InputError, match="not among the files shipped with diffpc"):
        asset(name)
