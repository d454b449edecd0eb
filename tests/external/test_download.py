"""Against a server on this machine that is cut, changes its mind, or sends what it should not."""

import hashlib
import random
import shutil
import ssl
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from diffpc.errors import InputError, UsageError
from diffpc.external.download import Manner, Order, download
from diffpc.external.http import Token
from diffpc.external.partial import Mark, Part
from tests.external.server import Site, serving

CONTENT = random.Random(0).randbytes(3 << 20)
OTHER = random.Random(1).randbytes(3 << 20)
QUICK = Manner(attempts=3, pause=0.0, timeout=5.0)


def sha(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def order(site, tmp_path):
    site.files["/file.bin"] = CONTENT
    return Order(
        f"{site.url}/file.bin", tmp_path / "deep" / "file.bin", len(CONTENT), len(CONTENT), sha(CONTENT)
    )


def changed(order, **changes):
    return Order(**{**vars(order), **changes})


def run(order, manner=QUICK):
    seen = []
    download(order, manner, lambda done, total: seen.append((done, total)))
    return seen


def left(order):
    """Names in the folder."""
    return sorted(path.name for path in order.path.parent.iterdir()) if order.path.parent.is_dir() else []


def test_a_file_arrives_whole_and_nothing_else_stays(order, site):
    seen = run(order)
    assert order.path.read_bytes() == CONTENT
    assert left(order) == ["file.bin"]
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert site.header("Range") == [None]


def test_what_is_cut_goes_on_where_it_broke_off(order, site):
    site.cut = [1_500_000, 600_000]
    run(order)
    assert order.path.read_bytes() == CONTENT
    assert site.header("Range") == [None, "bytes=1500000-", "bytes=2100000-"]
    assert site.header("If-Range") == [None, '"one"', '"one"']


def test_a_later_call_goes_on(order, site):
    site.cut = [1000]
    with pytest.raises(InputError, match="broke after 1000 of 3145728 bytes; run it again to go on"):
        run(order, Manner(attempts=1, pause=0.0))
    assert left(order) == ["file.bin.part", "file.bin.part.json"]
    run(order)
    assert order.path.read_bytes() == CONTENT and left(order) == ["file.bin"]
    assert site.header("Range") == [None, "bytes=1000-"]


def test_a_server_without_ranges_is_asked_for_the_whole_again(order, site):
    site.ranges, site.cut = False, [2_000_000]
    run(order)
    assert order.path.read_bytes() == CONTENT and len(site.asked) == 2


def test_a_server_without_tags_is_never_asked_for_a_part(order, site):
    site.etag, site.cut = None, [2_000_000]
    run(order)
    assert order.path.read_bytes() == CONTENT
    assert site.header("Range") == [None, None]


def test_a_weak_tag_is_none_but_a_date_serves(order, site):
    site.etag, site.cut = 'W/"one"', [2_000_000]
    run(order)
    assert site.header("Range") == [None, None]
    order.path.unlink()
    site.etag, site.extra, site.cut = None, {"Last-Modified": "Sat, 01 Jan 2022 00:00:00 GMT"}, [2_000_000]
    site.asked.clear()
    run(order)
    # This server knows no condition by date and sends the whole: which replaces what came before.
    assert site.header("If-Range") == [None, "Sat, 01 Jan 2022 00:00:00 GMT"]
    assert order.path.read_bytes() == CONTENT


def test_a_file_that_changes_in_between_starts_anew(order, site):
    site.files["/file.bin"], site.cut = OTHER, [1000]
    with pytest.raises(InputError, match="broke after"):
        run(order, Manner(attempts=1))
    site.files["/file.bin"], site.etag = CONTENT, '"two"'
    run(order)
    assert order.path.read_bytes() == CONTENT


def test_a_part_sent_under_another_tag_is_dropped(order, site):
    part = Part(order.path)
    part.path.parent.mkdir()
    part.restart(Mark('"zero"', len(CONTENT)))
    part.path.write_bytes(OTHER[:1000])
    site.conditions = False  # sends the rest of the new file behind the beginning of the old
    run(order)
    assert order.path.read_bytes() == CONTENT
    assert site.header("Range") == ["bytes=1000-", None]


def test_a_part_with_wrong_bytes_is_found_by_its_hash_and_fetched_anew(order, site):
    part = Part(order.path)
    part.path.parent.mkdir()
    part.restart(Mark('"one"', len(CONTENT)))
    part.path.write_bytes(OTHER[:1000])
    run(order)
    assert order.path.read_bytes() == CONTENT
    assert site.header("Range") == ["bytes=1000-", None]


def test_a_part_longer_than_the_file_or_with_a_broken_note_is_dropped(order, site):
    part = Part(order.path)
    part.path.parent.mkdir()
    part.restart(Mark('"one"', 10))
    part.path.write_bytes(OTHER[:1000])
    run(order)
    order.path.unlink()
    part.path.write_bytes(OTHER[:1000])
    part.path.with_name("file.bin.part.json").write_text("{")
    run(order)
    assert order.path.read_bytes() == CONTENT
    assert site.header("Range") == [None, None]


def test_a_range_beyond_the_file_starts_anew(order, site):
    part = Part(order.path)
    part.path.parent.mkdir()
    part.restart(Mark('"one"', 4 << 20))
    part.path.write_bytes(OTHER + OTHER[:1000])
    run(order)
    assert order.path.read_bytes() == CONTENT


def test_another_file_is_refused_and_does_not_stay(order, site):
    site.files["/file.bin"] = OTHER
    with pytest.raises(InputError, match=f"its sha256 is {sha(OTHER)}, expected {sha(CONTENT)}"):
        run(order)
    assert left(order) == []
    assert len(site.asked) == 1


def test_a_wrong_length_is_refused_before_a_byte_is_read(order, site):
    site.files["/file.bin"] = CONTENT + b"x"
    with pytest.raises(InputError, match="has 3145729 bytes on the server, expected 3145728"):
        run(order)
    with pytest.raises(InputError, match="has 3145729 bytes, more than the 1000 that are accepted"):
        run(changed(order, size=None, sha256=None, limit=1000))
    assert left(order) == []


def test_a_server_that_does_not_stop_is_stopped(order, site):
    site.files["/file.bin"], site.length = CONTENT + b"x", False
    with pytest.raises(InputError, match="sends more than 3145728 bytes"):
        run(order)
    assert left(order) == []


def test_a_short_answer_of_unknown_length_is_refused(order, site):
    site.files["/file.bin"], site.length = CONTENT[:100], False
    with pytest.raises(InputError, match="100 bytes came, expected 3145728"):
        run(order)


def test_a_page_is_no_file(order, site):
    site.kind = "text/html; charset=utf-8"
    with pytest.raises(InputError, match="sends a web page instead"):
        run(order)
    site.kind, site.files["/file.bin"] = "application/octet-stream", b"<!DOCTYPE html><p>no</p>"
    with pytest.raises(InputError, match="is a web page, not the file"):
        run(changed(order, size=None, sha256=None))
    assert left(order) == []


def test_passing_faults_are_waited_for_and_lasting_ones_told(order, site):
    site.codes = [503, 429]
    run(order)
    assert order.path.read_bytes() == CONTENT and len(site.asked) == 3
    site.codes = [500, 500, 500]
    with pytest.raises(InputError, match="the server answers 500; run it again to go on"):
        run(order)
    assert len(site.asked) == 6
    site.codes = [403]
    with pytest.raises(InputError, match=r"refuses it \(403\); accept its terms"):
        run(order)
    with pytest.raises(InputError, match="answers 404"):
        run(changed(order, url=f"{site.url}/none.bin"))
    assert len(site.asked) == 8


def test_a_host_that_is_not_there_is_told(order, site):
    with pytest.raises(InputError, match="cannot be reached"):
        run(changed(order, url="http://127.0.0.1:9/file.bin"))


def test_the_token_goes_to_its_host_and_to_no_other(order, site):
    with serving(Site(files={"/elsewhere.bin": CONTENT})) as other:
        site.redirects = {"/file.bin": "/moved.bin", "/moved.bin": f"{other.url}/elsewhere.bin"}
        token = Token("secret", site.url)
        run(changed(order, token=token))
        assert site.header("Authorization") == ["Bearer secret", "Bearer secret"]
        assert other.header("Authorization") == [None]
        run(changed(order, token=Token("secret", other.url), path=order.path.with_name("again.bin")))
        assert site.header("Authorization")[2:] == [None, None]
    assert order.path.read_bytes() == CONTENT
    assert "secret" not in repr(token)


def test_a_token_that_is_none_is_refused_without_being_told():
    with pytest.raises(UsageError) as caught:
        Token("hidden\nX-Other: 1")
    assert "hidden" not in str(caught.value)


def test_circles_and_other_kinds_of_address_are_refused(order, site, tmp_path):
    site.redirects = {"/file.bin": "/file.bin"}
    with pytest.raises(InputError, match="more than 5 redirects"):
        run(order)
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    site.redirects = {"/file.bin": secret.as_uri()}
    with pytest.raises(InputError, match="is no https address"):
        run(order)
    assert left(order) == []


@pytest.fixture
def secure(tmp_path):
    """A server's side of TLS with a certificate of its own making, and the certificate's file."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    hosts = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = made.add_extension(hosts, critical=True).sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    kinds = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    certificate, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(signed.public_bytes(encoding))
    private.write_bytes(key.private_bytes(encoding, *kinds))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return context, certificate


def test_certificates_are_checked_and_secure_addresses_never_lead_to_open_ones(
    order, site, secure, monkeypatch
):
    context, certificate = secure
    with serving(Site(files={"/file.bin": CONTENT}), context) as safe:
        order = changed(order, url=f"{safe.url}/file.bin")
        with pytest.raises(InputError, match="CERTIFICATE_VERIFY_FAILED"):
            run(order)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        run(order)
        assert order.path.read_bytes() == CONTENT
        safe.redirects = {"/away.bin": f"{site.url}/file.bin"}
        with pytest.raises(InputError, match=r"http://127\.0\.0\.1:\d+/file\.bin: is no https address"):
            run(changed(order, url=f"{safe.url}/away.bin"))
    assert site.asked == []


def test_a_folder_that_cannot_be_made_and_a_full_disk_are_told(order, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        run(changed(order, path=tmp_path / "file" / "below" / "file.bin"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 90, 10))
    with pytest.raises(InputError, match="has 10 bytes free and 3145728 are needed"):
        run(order)
    assert left(order) == []
