import hashlib
import io
import os
import zipfile
from contextlib import contextmanager

import pytest

from diffpc.errors import InputError, UsageError
from diffpc.external.asset import Archive, Asset, ByHand, File, Hub, Licence, Web
from diffpc.external.download import Manner
from diffpc.external.fetch import Fetching, address, fetch, token_of
from diffpc.external.table import ASSETS

CONTENT, CONFIG = b"weights" * 1000, b"{}"
FREE = Licence("MIT", "yes")


def sha(content):
    return hashlib.sha256(content).hexdigest()


MODEL = Asset(
    "model",
    "to test",
    (
        File("model/weights.bin", len(CONTENT), sha(CONTENT), "deep/weights.bin"),
        File("model/config.json", None, None, "deep/config.json"),
    ),
    Hub("owner/name"),
    FREE,
    "nothing",
)


def again(how):
    return Fetching(how.root, how.mirror, how.token, how.manner, again=True)


@contextmanager
def bar(name):
    yield lambda done, total: None


@pytest.fixture
def how(site, tmp_path):
    site.files["/owner/name/resolve/main/deep/weights.bin"] = CONTENT
    site.files["/owner/name/resolve/main/deep/config.json"] = CONFIG
    return Fetching(tmp_path / "root", site.url, "secret", Manner(attempts=2, pause=0.0, timeout=5.0))


def cache(folder, content=CONTENT, revision="main"):
    """A file in the layout of huggingface_hub's cache."""
    repository = folder / "models--owner--name"
    snapshot = repository / "snapshots" / ("0" * 40) / "deep"
    for place in (repository / "refs", repository / "blobs", snapshot):
        place.mkdir(parents=True)
    (repository / "refs" / revision).write_text("0" * 40)
    (repository / "blobs" / "abc").write_bytes(content)
    (snapshot / "weights.bin").symlink_to(repository / "blobs" / "abc")
    return repository / "blobs" / "abc"


def test_all_files_come_and_stay(how, site):
    first = fetch(MODEL, how, bar)
    assert [(one.how, one.hashed) for one in first] == [("download", True), ("download", False)]
    assert (how.root / "model/weights.bin").read_bytes() == CONTENT
    assert (how.root / "model/config.json").read_bytes() == CONFIG
    again = fetch(MODEL, how, bar)
    assert [(one.how, one.hashed) for one in again] == [("there", True), ("there", False)]
    assert len(site.asked) == 2


def test_a_mirror_never_sees_the_token(how, site):
    fetch(MODEL, how, bar)
    assert site.header("Authorization") == [None, None]


def test_a_wrong_file_is_replaced_and_a_right_one_kept(how, site):
    (how.root / "model").mkdir(parents=True)
    (how.root / "model/weights.bin").write_bytes(CONTENT[:-1] + b"x")
    (how.root / "model/config.json").write_bytes(b'{"mine": 1}')
    assert [one.how for one in fetch(MODEL, how, bar)] == ["download", "there"]
    assert (how.root / "model/weights.bin").read_bytes() == CONTENT
    assert (how.root / "model/config.json").read_bytes() == b'{"mine": 1}'


def test_what_has_no_known_hash_is_fetched_again_if_asked(how, site):
    fetch(MODEL, how, bar)
    (how.root / "model/config.json").write_bytes(b"broken")
    assert [one.how for one in fetch(MODEL, again(how), bar)] == ["there", "download"]
    assert (how.root / "model/config.json").read_bytes() == CONFIG


def test_the_cache_of_the_hub_is_used_and_outlived(how, site, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    blob = cache(tmp_path / "hub")
    assert [one.how for one in fetch(MODEL, how, bar)] == ["cache", "download"]
    assert [path for path, _ in site.asked] == ["/owner/name/resolve/main/deep/config.json"]
    placed = how.root / "model/weights.bin"
    assert not placed.is_symlink() and placed.samefile(blob)
    blob.unlink()
    assert placed.read_bytes() == CONTENT


def test_without_links_the_cache_is_copied(how, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    blob = cache(tmp_path / "hub")

    def refuse(*_):
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    assert fetch(MODEL, how, bar)[0].how == "cache"
    placed = how.root / "model/weights.bin"
    assert placed.read_bytes() == CONTENT and not placed.samefile(blob)


def test_a_broken_cache_is_passed_over(how, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    cache(tmp_path / "hub", CONTENT[:-1] + b"x")
    assert fetch(MODEL, how, bar)[0].how == "download"
    assert (how.root / "model/weights.bin").read_bytes() == CONTENT


def zipped(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def pack(content, digest=None):
    files = (File("models/pack/weights.bin", len(CONTENT), digest or sha(CONTENT)),)
    source = Archive("https://host.example/path/pack.zip", len(content), sha(content))
    return Asset("pack", "to test", files, source, FREE, "nothing")


def test_an_archive_is_unpacked_and_goes(how, site):
    content = zipped({"pack/pack/weights.bin": CONTENT})
    site.files["/path/pack.zip"] = content
    assert [one.how for one in fetch(pack(content), how, bar)] == ["download"]
    assert (how.root / "models/pack/weights.bin").read_bytes() == CONTENT
    assert sorted(path.name for path in how.root.iterdir()) == ["models"]
    assert [one.how for one in fetch(pack(content), how, bar)] == ["there"]


def test_an_archive_that_leads_out_or_holds_something_else_is_refused(how, site):
    content = zipped({"../weights.bin": CONTENT})
    site.files["/path/pack.zip"] = content
    with pytest.raises(InputError, match="leads out"):
        fetch(pack(content), how, bar)
    content = zipped({"weights.bin": CONTENT})
    site.files["/path/pack.zip"] = content
    with pytest.raises(InputError, match=r"weights\.bin: is another file"):
        fetch(pack(content, "0" * 64), how, bar)
    assert not (how.root / "pack.zip").exists()


def test_what_wants_an_account_is_told_in_one_sentence(how, site):
    with pytest.raises(InputError) as caught:
        fetch(ASSETS["flame"], how, bar)
    assert "go to https://flame.is.tue.mpg.de (it needs an account), register" in str(caught.value)
    assert "\n" not in str(caught.value) and site.asked == []


def test_what_was_fetched_by_hand_is_taken(how):
    hand = Asset(
        "own", "to test", (File("own.pt"),), ByHand("https://host.example", "do it"), FREE, "nothing"
    )
    how.root.mkdir()
    (how.root / "own.pt").write_bytes(b"x")
    assert [(one.how, one.hashed) for one in fetch(hand, how, bar)] == [("there", False)]


def test_addresses():
    file = MODEL.files[0]
    assert address(Hub("o/n"), file, None) == "https://huggingface.co/o/n/resolve/main/deep/weights.bin"
    assert address(Hub("o/n", "refs/pr/32"), file, "https://m.example/hub/") == (
        "https://m.example/hub/o/n/resolve/refs%2Fpr%2F32/deep/weights.bin"
    )
    assert address(Web("https://h.example/a"), file, None) == "https://h.example/a/deep/weights.bin"
    assert (
        address(Archive("https://h.example/a.zip", 1, ""), file, "http://m.example")
        == "http://m.example/a.zip"
    )
    for wrong in ("m.example", "file:///etc", "https://"):
        with pytest.raises(UsageError, match="is no address"):
            address(Hub("o/n"), file, wrong)


def test_the_token_is_the_users():
    assert token_of({}) is None
    assert token_of({"HF_TOKEN": " "}) is None
    assert token_of({"HF_TOKEN": "hf_x\n"}) == "hf_x"
