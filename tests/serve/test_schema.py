"""schemathesis on the OpenAPI schema: whatever it invents, no answer is a fault of ours."""

from typing import Any

import pytest
from starlette.testclient import TestClient

schemathesis = pytest.importorskip("schemathesis", reason="the extra test is not installed")
hypothesis = pytest.importorskip("hypothesis", reason="the extra test is not installed")

from diffpc.serve.app import make_app  # noqa: E402
from diffpc.serve.painter import LocalPainter  # noqa: E402
from diffpc.serve.request import Limits  # noqa: E402
from diffpc.serve.studio import Studio  # noqa: E402

EXAMPLES = 10


def codes_of(operation: Any) -> set[int]:
    """The answers to what schemathesis invents for one operation."""
    codes: set[int] = set()

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        answer = case.call()
        codes.add(answer.status_code)
        assert answer.status_code < 500, answer.text

    ask()
    return codes


def test_no_answer_is_a_5xx(painter: LocalPainter) -> None:
    studio = Studio(lambda: painter, Limits(steps=2, count=1, upload_bytes=2**20))
    studio.start()
    assert studio.ready(None)
    app = make_app(studio)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    seen: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        seen[operation.label] = codes_of(operation)
    assert len(seen) == 11 and {200} <= seen["GET /healthz"]
    assert {422} & seen["POST /v1/portraits"]
    studio.jobs.close()
    with TestClient(app) as client:
        assert client.get("/healthz").status_code == 200
