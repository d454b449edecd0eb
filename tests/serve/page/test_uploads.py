"""Uploads stay in memory, are bounded, and are taken once; Gradio's other routes are shut."""

import pytest

pytest.importorskip("fastapi", reason="the service's packages are not installed: pip install 'diffpc[serve]'")

from fastapi import FastAPI
from fastapi.testclient import TestClient

from diffpc.errors import InputError
from diffpc.serve.page import uploads
from diffpc.serve.page.uploads import MAX_WAITING, UPLOADS, Gate, Tray, add_uploads, allowed, clean_name


def client(tray: Tray, max_bytes: int) -> TestClient:
    app = FastAPI()
    add_uploads(app, tray, max_bytes)
    return TestClient(app)


def test_a_file_goes_to_memory_and_is_taken_once() -> None:
    tray = Tray()
    answer = client(tray, 100).post(UPLOADS, params={"name": "../me.jpg"}, content=b"pixels")
    found = tray.take(answer.text)
    assert (answer.status_code, found.name, found.data) == (200, "me.jpg", b"pixels")
    with pytest.raises(InputError, match="Drop it again"):
        tray.take(answer.text)


def test_a_file_over_the_limit_is_refused_in_words() -> None:
    tray = Tray()
    answer = client(tray, 2**20).post(UPLOADS, content=b"x" * (2**20 + 1))
    assert (answer.status_code, answer.text) == (413, "The file is over the limit of 1 MiB. Shrink it.")


@pytest.mark.parametrize("token", ["nothing", None, 7, ["a"]])
def test_a_wrong_token_takes_nothing(token: object) -> None:
    with pytest.raises(InputError):
        Tray().take(token)


def test_of_too_many_waiting_files_the_oldest_goes() -> None:
    tray = Tray()
    tokens = [tray.put(str(number), b"") for number in range(MAX_WAITING + 1)]
    with pytest.raises(InputError):
        tray.take(tokens[0])
    assert [tray.take(token).name for token in tokens[1:]] == [str(n) for n in range(1, MAX_WAITING + 1)]


def test_a_file_waits_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    tray = Tray()
    token = tray.put("me.jpg", b"")
    monkeypatch.setattr(uploads, "SECONDS", 0.0)
    with pytest.raises(InputError):
        tray.take(token)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("C:\\photos\\me.jpg", "me.jpg"), ("a/b\n.png", "b.png"), ("", "photo"), ("x" * 200, "x" * 80)],
)
def test_names_are_fit_for_messages(name: str, expected: str) -> None:
    assert clean_name(name) == expected


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/queue/join", "/assets/index.js"])
def test_what_the_page_needs_is_open(path: str) -> None:
    assert allowed(path)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/proxy=http://x",
        "/gradio_api/call/v2/x",
    ],
)
def test_everything_else_of_gradio_is_shut(path: str) -> None:
    inner = FastAPI()

    @inner.get("/{rest:path}")
    def reached(rest: str) -> str:
        return rest

    answer = TestClient(Gate(inner)).get(path)
    assert not allowed(path)
    assert answer.status_code == 404 and answer.text == "not found"
