import stat
import zipfile

import pytest

from diffpc.errors import InputError
from diffpc.external.asset import File
from diffpc.external.unpack import unpack

FILES = (File("models/pack/a.onnx", 5), File("models/pack/b.onnx"))


@pytest.fixture
def root(tmp_path):
    """As the folder of models: nothing beside it may change."""
    return tmp_path / "outer" / "root"


def packed(tmp_path, members, compression=zipfile.ZIP_DEFLATED):
    path = tmp_path / "pack.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_wanted_files_are_found_at_any_depth_and_the_others_stay(tmp_path, root):
    members = {"pack/pack/a.onnx": b"aaaaa", "b.onnx": b"bb", "pack/README": b"no"}
    unpack(packed(tmp_path, members), root, FILES)
    assert everything(root) == ["models/pack/a.onnx", "models/pack/b.onnx"]
    assert (root / "models/pack/a.onnx").read_bytes() == b"aaaaa"
    assert (root / "models/pack/b.onnx").read_bytes() == b"bb"


@pytest.mark.parametrize(
    "name", ["../a.onnx", "pack/../../a.onnx", "/a.onnx", "C:/a.onnx", "..\\a.onnx", "\\a.onnx"]
)
def test_nothing_is_written_where_a_member_leads_out(tmp_path, root, name):
    path = packed(tmp_path, {name: b"aaaaa", "pack/a.onnx": b"aaaaa", "pack/b.onnx": b"bb"})
    with pytest.raises(InputError, match="leads out of its folder"):
        unpack(path, root, FILES)
    assert everything(tmp_path) == ["pack.zip"]


def test_links_are_refused(tmp_path, root):
    path = packed(tmp_path, {"a.onnx": b"aaaaa", "b.onnx": b"bb"})
    link = zipfile.ZipInfo("pack/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc")
    with pytest.raises(InputError, match="leads out"):
        unpack(path, root, FILES)


def test_a_bomb_is_refused_by_the_length_it_claims(tmp_path, root):
    path = packed(tmp_path, {"a.onnx": b"aaaaa", "b.onnx": bytes(50 << 20)})
    assert path.stat().st_size < 1 << 20
    with pytest.raises(InputError, match=r"b\.onnx has 52428800 bytes in it, expected 10"):
        unpack(path, root, (FILES[0], File("models/pack/b.onnx", 10)))
    assert everything(tmp_path) == ["pack.zip"]


def test_a_bomb_that_hides_its_length_gives_no_more_than_it_claims(tmp_path, root):
    path = packed(tmp_path, {"a.onnx": b"aaaaa", "b.onnx": bytes(1 << 20)})
    content = path.read_bytes()
    true, claimed = (1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")
    path.write_bytes(content.replace(true, claimed))
    with pytest.raises(InputError, match="no whole zip file"):
        unpack(path, root, FILES)
    assert "models/pack/b.onnx" not in everything(root)


def test_what_is_not_needed_may_be_large_and_is_never_read(tmp_path, root):
    members = {"a.onnx": b"aaaaa", "b.onnx": b"bb", "huge.bin": bytes(50 << 20)}
    unpack(packed(tmp_path, members), root, FILES)
    assert everything(root) == ["models/pack/a.onnx", "models/pack/b.onnx"]


def test_missing_and_doubled_files_are_told(tmp_path, root):
    with pytest.raises(InputError, match=r"holds 0 files b\.onnx"):
        unpack(packed(tmp_path, {"a.onnx": b"aaaaa"}), root, FILES)
    doubled = {"a.onnx": b"aaaaa", "x/a.onnx": b"aaaaa", "b.onnx": b"bb"}
    with pytest.raises(InputError, match=r"holds 2 files a\.onnx"):
        unpack(packed(tmp_path, doubled), root, FILES)


def test_too_many_members_are_refused(tmp_path, root):
    path = packed(tmp_path, {f"{number}.txt": b"" for number in range(1001)}, zipfile.ZIP_STORED)
    with pytest.raises(InputError, match="holds 1001 files"):
        unpack(path, root, FILES)


def test_a_broken_archive_is_told_and_leaves_no_half_file(tmp_path, root):
    path = packed(tmp_path, {"a.onnx": b"aaaaa", "b.onnx": b"bb" * 1000}, zipfile.ZIP_STORED)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"bb" * 1000, b"cc" * 1000))
    with pytest.raises(InputError, match="no whole zip file"):
        unpack(path, root, FILES)
    assert everything(root) == ["models/pack/a.onnx"]
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="no whole zip file"):
        unpack(path, root, FILES)
