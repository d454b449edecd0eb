"""A local server that misbehaves in every way: nothing hangs, nothing private is reached, each URL is accounted for."""

import http.server
import json
import socket
import threading
import time
from dataclasses import replace

import pytest

from diffpc.curate.download import JOURNAL, download, photo_file
from diffpc.curate.fetch import Refused, _check_tag, is_public, target_of
from diffpc.curate.settings import DownloadSettings
from diffpc.curate.sources import Link

PHOTO = b"\xff\xd8 a photo \xff\xd9" * 20
SETTINGS = DownloadSettings(delay=0.0, timeout=1.0, deadline=2.0, megabytes=0.5, private=True)


class Handler(http.server.BaseHTTPRequestHandler):
    """What the server does is the path's first word."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        getattr(self, self.path.split("/")[1].split("?")[0].replace(".", "_"))()

    def answer(self, content=PHOTO, status=200, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def robots_txt(self):
        self.answer(b"User-agent: *\nDisallow: /secret\n")

    def photo(self):
        self.answer()

    def secret(self):
        self.answer()

    def missing(self):
        self.answer(b"", 404)

    def empty(self):
        self.answer(b"")

    def noai(self):
        self.answer(X_Robots_Tag="noindex, nofollow")

    def html(self):
        self.answer(b"<html>no photo</html>", Content_Type="image/jpeg")

    def moved(self):
        self.answer(b"", 302, Location="/photo/moved")

    def circle(self):
        self.answer(b"", 302, Location="/circle")

    def inside(self):
        self.answer(b"", 302, Location="http://127.0.0.2:1/photo")

    def file(self):
        self.answer(b"", 302, Location="file:///etc/passwd")

    def drop(self):
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def half(self):
        self.send_response(200)
        self.send_header("Content-Length", "10000")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def silent(self):
        time.sleep(5)

    def drip(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.slowly(b"x" * 40)

    def headers_drip(self):
        self.slowly(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 40)

    def slowly(self, content):
        try:
            for byte in content:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.2)
        except OSError:  # the downloader has gone
            self.close_connection = True

    def huge(self):
        self.send_response(200)
        self.send_header("Content-Length", str(2 * 2**30))
        self.end_headers()

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(2**15):  # 2 GB, with no word of it before
                self.wfile.write(bytes(2**16))
            self.asked.append("all of it")
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Handler,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    server.asked = handler.asked
    server.origin = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fetched(server, folder, *paths, settings=SETTINGS):
    links = [
        Link(row, "ada", path if "//" in path else server.origin + path) for row, path in enumerate(paths, 1)
    ]
    found = download(links, folder, settings, lambda _: None)
    assert {*found.files} | {*found.faults} == {link.key for link in links}
    assert not {*found.files} & {*found.faults}
    return [found.faults.get(link.key, "") or found.files[link.key].read_bytes() for link in links]


def test_photos_and_redirects(server, tmp_path):
    assert fetched(server, tmp_path, "/photo/1", "/photo/2?x=%20y", "/moved", "/html") == [
        PHOTO, PHOTO, PHOTO, b"<html>no photo</html>",
    ]  # fmt: skip
    assert server.asked.count("/robots.txt") == 1 and "/photo/2?x=%20y" in server.asked


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/secret/x", "robots.txt forbids it"),
        ("/noai", "X-Robots-Tag: noindex"),
        ("/missing", "status 404"),
        ("/empty", "an empty answer"),
        ("/circle", "more than 5 redirects"),
        ("/file", "no plain http or https address"),
        ("/drop", "Remote end closed connection"),
        ("/half", "IncompleteRead"),
        ("/silent", "timed out"),
        ("/drip", "not done within 2 s"),
        ("/headers_drip", "not done within 2 s"),
        ("/huge", "2147483648 bytes, more than 524288"),
        ("/endless", "more than 524288 bytes"),
        ("ftp://127.0.0.1/x", "no plain http or https address"),
        ("http://user:key@127.0.0.1/x", "no plain http or https address"),
        ("http://[::1/x", "no address"),
        ("http:///x", "no plain http or https address"),
        ("http://nobody.invalid/x", "nobody.invalid cannot be resolved"),
    ],
)
def test_each_misdeed_is_a_fault(server, tmp_path, path, fault):
    (found,) = fetched(server, tmp_path, path)
    assert isinstance(found, str) and fault in found
    assert "all of it" not in server.asked


def test_nothing_private_is_reached(server, tmp_path):
    strict = replace(SETTINGS, private=False)
    port = server.server_port
    addresses = [
        f"http://127.0.0.1:{port}/photo",
        f"http://localhost:{port}/photo",
        f"http://[::ffff:127.0.0.1]:{port}/photo",
        f"http://2130706433:{port}/photo",
        f"http://0.0.0.0:{port}/photo",
    ]
    found = fetched(server, tmp_path, *addresses, settings=strict)
    assert all("has the private address" in fault for fault in found) and server.asked == []


def test_each_redirect_is_checked_like_a_first_request(server, tmp_path, monkeypatch):
    # The server's own address passes as public; the one it redirects to does not.
    monkeypatch.setattr("diffpc.curate.fetch.is_public", lambda address: address == "127.0.0.1")
    (found,) = fetched(server, tmp_path, "/inside", settings=replace(SETTINGS, private=False))
    assert found == "127.0.0.2 has the private address 127.0.0.2"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("10.0.0.1", False), ("192.168.1.1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("::1", False), ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False), ("2002:7f00:1::", False), ("224.0.0.1", False), ("0.0.0.0", False),
    ],
)  # fmt: skip
def test_public_addresses(address, public):
    assert is_public(address) == public


@pytest.mark.parametrize(
    ("tag", "allowed"),
    [
        ("noai", False), ("nofollow, NoImageAI", False), ("nofollow", True), ("otherbot: noindex", True),
        ("diffpc: noindex", False), ("", True), ("noarchive; noimageindex", False),
    ],
)  # fmt: skip
def test_robots_tags(tag, allowed):
    if allowed:
        _check_tag(tag, "diffpc")
    else:
        with pytest.raises(Refused, match="X-Robots-Tag"):
            _check_tag(tag, "diffpc")


def test_nothing_is_asked_for_twice(server, tmp_path):
    first = fetched(server, tmp_path, "/photo/1", "/missing")
    with (tmp_path / JOURNAL).open("a") as stream:
        stream.write('{"key": "000000003", "fau')  # cut short by a kill
    asked = len(server.asked)
    again = fetched(server, tmp_path, "/photo/1", "/missing", "/photo/3")
    assert again[:2] == first and again[2] == PHOTO
    assert server.asked[asked:] == ["/robots.txt", "/photo/3"]
    photo_file(tmp_path, "000000001").unlink()  # a photo that is gone is fetched again
    assert fetched(server, tmp_path, "/photo/1")[0] == PHOTO
    assert all(
        json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines() if line.endswith("}")
    )


def test_one_host_is_asked_gently(server, tmp_path):
    started = time.monotonic()
    fetched(server, tmp_path, *[f"/photo/{n}" for n in range(5)], settings=replace(SETTINGS, delay=0.2))
    assert time.monotonic() - started >= 4 * 0.2


def test_a_target_is_a_checked_address():
    found = target_of("http://8.8.8.8/a?b", DownloadSettings())
    assert (found.address, found.port, found.origin) == ("8.8.8.8", 80, "http://8.8.8.8")
