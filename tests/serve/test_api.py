"""The REST API over the real pipeline."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from diffpc.errors import InputError
from diffpc.generate.replay import replayed
from diffpc.generate.request import Request
from diffpc.images import read_image
from diffpc.provenance import DIGITAL_SOURCE_TYPE, read_settings
from diffpc.serve.app import Access, make_app
from diffpc.serve.guard import ApiKeys, read_keys
from diffpc.serve.request import Limits
from diffpc.serve.studio import Studio
from diffpc.serve.watermark import is_marked


@pytest.fixture(scope="session")
def photo(astronaut_path: Path) -> bytes:
    return astronaut_path.read_bytes()


def encoded(photo: bytes) -> dict[str, str]:
    return {"name": "me.jpg", "data": base64.b64encode(photo).decode()}


def events(client: TestClient, job: dict[str, str]) -> list[dict[str, Any]]:
    text = client.get(job["events"]).text
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def test_json_becomes_a_portrait_that_replays(
    client: TestClient, photo: bytes, astronaut_path: Path, tmp_path: Path, random_model: Path
) -> None:
    body = {"consent": True, "references": [encoded(photo)], "prompt": "a wood", "steps": 2, "seed": 3}
    body |= {"pose": {"yaw": 10}, "expression": "smile"}
    answer = client.post("/v1/portraits", json=body)
    assert answer.status_code == 202, answer.text
    seen = events(client, answer.json())
    assert [one["version"] for one in seen] == sorted({one["version"] for one in seen})
    assert seen[-1]["state"] == "done" and seen[-1]["progress"] == 1.0
    (portrait,) = seen[-1]["portraits"]
    assert set(portrait) == {"url", "withheld", "seed", "similarity", "pose_error", "expression_error"}
    png = client.get(portrait["url"])
    assert png.headers["content-type"] == "image/png"
    path = tmp_path / "it.png"
    path.write_bytes(png.content)
    assert is_marked(read_image(path)) and DIGITAL_SOURCE_TYPE.encode() in png.content
    (tmp_path / "me.jpg").write_bytes(photo)
    again = replayed(Request(replay=path, model=str(random_model))).request
    assert (again.seed, again.prompt, again.pose, again.expression) == (
        3,
        "a wood",
        (10.0, 0.0, 0.0),
        "smile",
    )
    assert again.reference == (tmp_path / "me.jpg",)
    assert str(tmp_path) not in json.dumps(read_settings(path).settings)


def test_a_form_becomes_a_portrait(client: TestClient, photo: bytes) -> None:
    options = json.dumps({"consent": True, "steps": 1, "count": 2})
    files = [
        ("references", ("../../me.jpg", photo)),
        ("target", ("t.jpg", photo)),
        ("expression_photo", ("e.jpg", photo)),
    ]
    answer = client.post("/v1/portraits", data={"options": options}, files=files)
    assert answer.status_code == 202, answer.text
    last = events(client, answer.json())[-1]
    assert (last["state"], [one["seed"] for one in last["portraits"]]) == ("done", [0, 1])
    assert b'"me.jpg"' in client.get(last["portraits"][0]["url"]).content


def test_an_identity_serves_many_portraits(client: TestClient, photo: bytes) -> None:
    made = client.post("/v1/identities", json={"consent": True, "references": [encoded(photo)]})
    assert made.status_code == 201, made.text
    name = made.json()["id"]
    asked = client.post("/v1/portraits", json={"consent": True, "identity": name, "steps": 1})
    assert events(client, asked.json())[-1]["state"] == "done"
    assert client.delete(f"/v1/identities/{name}").status_code == 204
    gone = client.post("/v1/portraits", json={"consent": True, "identity": name})
    assert (gone.status_code, "make it again" in gone.json()["detail"]) == (404, True)


def test_a_job_is_taken_back(client: TestClient, photo: bytes) -> None:
    options = {"consent": True, "references": [encoded(photo)], "steps": 4, "count": 2}
    job = client.post("/v1/portraits", json=options).json()
    assert client.delete(job["status"]).status_code == 204
    assert events(client, job)[-1]["state"] in ("cancelled", "done")
    assert client.get("/v1/jobs/nobody").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "consent"),
        ({"consent": False}, 422, "consent"),
        ({"consent": True}, 422, "no reference photo"),
        ({"consent": True, "references": [{"data": "%%%"}]}, 422, "is not base64"),
        ({"consent": True, "references": [{"data": ""}]}, 422, "the file is empty"),
        ({"consent": True, "identity": "x"}, 404, "no identity"),
        ({"consent": True, "path": "/etc/passwd"}, 422, "path"),
        ({"consent": True, "steps": "many"}, 422, "steps"),
    ],
)
def test_wrong_bodies_are_told_what_is_wrong(
    client: TestClient, body: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post("/v1/portraits", json=body)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


def test_a_client_cannot_switch_off_the_safeguards(client: TestClient, photo: bytes) -> None:
    for name in ("watermark", "nsfw", "safety"):
        body = {"consent": True, "references": [encoded(photo)], name: False}
        assert client.post("/v1/portraits", json=body).status_code == 422


def test_watching(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    text = client.get("/metrics").text
    assert 'diffpc_jobs_total{outcome="accepted"}' in text
    assert 'diffpc_http_seconds_count{route="/healthz",status="200"}' in text


def test_a_full_queue_is_429(photo: bytes) -> None:
    never = Studio(lambda: pytest.fail("never loaded"), Limits(queue=1))
    with TestClient(make_app(never)) as client:
        body = {"consent": True, "references": [encoded(photo)]}
        assert client.post("/v1/portraits", json=body).status_code == 202
        full = client.post("/v1/portraits", json=body)
        assert (full.status_code, int(full.headers["retry-after"]) >= 1) == (429, True)
        assert client.get("/readyz").status_code == 503


def test_keys_hosts_and_origins(served: Studio) -> None:
    access = Access(
        ("studio.example",), ("https://friend.example",), read_keys(None, "0123456789abcdef, k" + "x" * 20)
    )
    app = make_app(served, access)
    with TestClient(app, base_url="http://studio.example") as client:
        good = {"Authorization": "Bearer 0123456789abcdef"}
        assert client.get("/healthz").status_code == 200
        for headers in (
            {},
            {"Authorization": "Bearer 0123456789abcdeF"},
            {"Authorization": "Basic 0123456789abcdef"},
        ):
            assert client.get("/v1/jobs/x", headers=headers).status_code == 401
            assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/v1/jobs/x", headers=good).status_code == 404
        assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 400
        friend = client.get("/healthz", headers={"Origin": "https://friend.example"})
        assert friend.headers["access-control-allow-origin"] == "https://friend.example"
        other = client.get("/healthz", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_keys_are_read_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# ours\n0123456789abcdef  # mine\n\n")
    assert "0123456789abcdef" in read_keys(path, None) and "0123456789abcdee" not in read_keys(path, None)
    assert read_keys(None, None) == ApiKeys(())
    path.write_text("short\n")
    with pytest.raises(InputError, match="has 5 characters"):
        read_keys(path, None)
    path.write_text("\n")
    with pytest.raises(InputError, match="has no key"):
        read_keys(path, None)
