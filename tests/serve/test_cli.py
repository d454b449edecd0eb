"""`diffpc serve` as a process: it says when it is ready, answers, and stops in order."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from diffpc import cli
from diffpc.errors import UsageError
from diffpc.serve.run import ServeSettings, access_of


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_it_serves_and_stops(random_model: Path, astronaut_path: Path, tmp_path: Path) -> None:
    port = free_port()
    words = [
        "serve",
        "--port",
        str(port),
        "--model",
        str(random_model),
        "--no-page",
        "--keep",
        str(tmp_path / "kept"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "diffpc.cli", *words], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert process.stderr is not None
        lines = [process.stderr.readline(), process.stderr.readline()]
        assert "only with their consent" in lines[0]
        assert lines[1] == f"diffpc: ready: http://127.0.0.1:{port}\n"
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as http:
            options = {"options": '{"consent": true, "steps": 1}'}
            with astronaut_path.open("rb") as photo:
                job = http.post("/v1/portraits", data=options, files={"references": photo}).json()
            text = http.get(job["events"]).text
        assert '"state":"done"' in text
        assert sorted(one.name for one in (tmp_path / "kept" / job["id"]).iterdir()) == [
            "0.png",
            "photo-0.png",
        ]
    finally:
        process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=60)
    assert rest.endswith("diffpc: stopped\n"), rest
    assert "Traceback" not in rest


def test_it_is_not_opened_to_others_by_accident() -> None:
    with pytest.raises(UsageError, match="pass --api-keys"):
        access_of(ServeSettings(host="0.0.0.0"), None)
    with pytest.raises(UsageError, match="--no-page"):
        access_of(ServeSettings(host="0.0.0.0"), "0123456789abcdef")
    assert access_of(ServeSettings(host="0.0.0.0", page=False), "0123456789abcdef").keys.hashes


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(
        f"--{name}" in text for name in ("host", "api-keys", "no-watermark", "ray", "keep", "max-upload")
    )
