"""Styles: a style's portrait, none of it in the others, and the same again from its record."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

pytest.importorskip("peft", reason="the extra lora is not installed")

from diffpc import cli
from diffpc.changes import Changes, Lora
from diffpc.errors import InputError, UsageError
from diffpc.images import read_image
from diffpc.loading import load_pipeline
from diffpc.pipeline import DiffPCPipeline
from diffpc.provenance import read_settings
from diffpc.serve.app import make_app
from diffpc.serve.jobs import Result
from diffpc.serve.painter import LocalPainter, ModelSettings, compatible
from diffpc.serve.request import Photo, PortraitRequest
from diffpc.serve.safety import SafetySettings
from diffpc.serve.studio import Studio
from diffpc.serve.styles import parsed_styles
from diffpc.types import Image
from diffpc.weights import sha256
from tests.pipelines import random_pipeline, write_lora


class Quiet:
    """Nobody who watches."""

    def report(self, number: int, step: object) -> None: ...

    def stopped(self, number: int) -> bool:
        return False


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two for the UNet, one for a text encoder; two of one name in different folders."""
    pipeline, folder = random_pipeline(), tmp_path_factory.mktemp("loras")
    (folder / "ink").mkdir()
    return [
        write_lora(pipeline, folder / "ink" / "lora.safetensors", seed=1),
        write_lora(pipeline, folder / "lora.safetensors", seed=2),
        write_lora(pipeline, folder / "words.safetensors", seed=3, part="text_encoder"),
    ]


@pytest.fixture(scope="module")
def styled(random_model: Path, loras: list[Path]) -> Iterator[LocalPainter]:
    styles = {"ink": (loras[0],), "wood cut": (loras[1], loras[2]), "words": (loras[2],)}
    made = LocalPainter(
        ModelSettings(model=str(random_model), styles=styles, safety=SafetySettings(watermark=False))
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def asked(astronaut: Image, astronaut_path: Path) -> PortraitRequest:
    photo = Photo("astronaut.jpg", astronaut, sha256(astronaut_path))
    return PortraitRequest(references=(photo,), prompt="a wood", steps=1, previews=False)


def drawn(painter: LocalPainter, request: PortraitRequest) -> Result:
    (outcome,) = painter.draw([request], Quiet())
    assert not isinstance(outcome, Exception), outcome
    return outcome[0]


def test_a_style_changes_the_picture_and_leaves_no_trace(
    styled: LocalPainter, painter: LocalPainter, asked: PortraitRequest
) -> None:
    looks = [None, "ink", "wood cut", "words", None, "wood cut", "ink", None]
    pictures = [drawn(styled, replace(asked, style=style)).drawn.portraits[0].image for style in looks]
    plain = drawn(painter, asked).drawn.portraits[0].image
    assert all(np.array_equal(pictures[at], plain) for at in (0, 4, 7))
    assert np.array_equal(pictures[1], pictures[6]) and np.array_equal(pictures[2], pictures[5])
    different = {pictures[at].tobytes() for at in range(4)}
    assert len(different) == 4


def test_a_style_is_what_its_files_are_as_loras(
    styled: LocalPainter, asked: PortraitRequest, random_model: Path, loras: list[Path], astronaut: Image
) -> None:
    pipeline: DiffPCPipeline = load_pipeline(
        str(random_model), changes=Changes(loras=tuple(map(Lora, loras[1:])))
    )
    person = pipeline.identify([astronaut])
    result = drawn(styled, replace(asked, style="wood cut"))
    alone = pipeline(person, person.params, "a wood", result.portrait.settings).portraits[0].image
    assert np.array_equal(alone, result.drawn.portraits[0].image)


def test_the_operators_own_loras_are_drawn_with_where_no_style_is_asked_for(
    asked: PortraitRequest, random_model: Path, loras: list[Path], styled: LocalPainter
) -> None:
    both = LocalPainter(
        ModelSettings(str(random_model), lora=(str(loras[0]),), styles={"words": (loras[2],)})
    )
    try:
        for own, style in ((None, "ink"), ("words", "words")):
            one, other = drawn(both, replace(asked, style=own)), drawn(styled, replace(asked, style=style))
            assert np.array_equal(one.drawn.portraits[0].image, other.drawn.portraits[0].image)
    finally:
        both.close()


def test_a_styled_portrait_replays(
    styled: LocalPainter,
    asked: PortraitRequest,
    random_model: Path,
    loras: list[Path],
    astronaut_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the files beside it; the record says which, and says nothing of the other styles."""
    result = drawn(styled, replace(asked, style="wood cut"))
    path = tmp_path / "it.png"
    path.write_bytes(result.png)
    record = read_settings(path)
    assert record.settings["lora"] == [[one.name, sha256(one)] for one in loras[1:]]
    assert {name: digest for name, digest in record.weights.items() if name.startswith("lora/")} == {
        f"lora/{one.name}": sha256(one) for one in loras[1:]
    }
    for one in (*loras[1:], astronaut_path):
        shutil.copy(one, tmp_path)
    shutil.copytree(random_model, tmp_path / random_model.name)
    assert cli.main(["generate", "--replay", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []
    assert np.array_equal(read_image(tmp_path / "it-replay.png"), result.portrait.image)


def test_jobs_of_two_styles_are_not_drawn_together(asked: PortraitRequest) -> None:
    ink = replace(asked, style="ink")
    assert compatible(ink, ink) and not compatible(ink, asked) and not compatible(asked, ink)


def test_clients_choose_a_style_by_name(styled: LocalPainter, asked: PortraitRequest) -> None:
    studio = Studio(lambda: styled)
    studio.start()
    assert studio.ready(None)
    with TestClient(make_app(studio)) as client:
        assert client.get("/v1/styles").json() == {"styles": ["ink", "wood cut", "words"]}
        name = studio.identities.add(studio.identify(asked.references))
        body = {"consent": True, "identity": name, "steps": 1}
        wrong = client.post("/v1/portraits", json={**body, "style": "/etc/passwd"})
        assert wrong.status_code == 422
        assert wrong.json()["detail"] == "unknown style '/etc/passwd'; choose one of: ink, wood cut, words"
        job = client.post("/v1/portraits", json={**body, "style": "ink"}).json()
        assert '"state":"done"' in client.get(job["events"]).text
        png = client.get(f"{job['status']}/portraits/0.png").content
        assert b'"lora": [["lora.safetensors", "' in png
    studio.jobs.close()


def test_a_service_without_styles_says_so(client: TestClient) -> None:
    assert client.get("/v1/styles").json() == {"styles": []}
    answer = client.post("/v1/portraits", json={"consent": True, "style": "ink", "references": []})
    assert answer.status_code == 422


def test_an_unknown_style_fails_its_job_alone(painter: LocalPainter, asked: PortraitRequest) -> None:
    """One that was asked for while the model was loading."""
    (outcome,) = painter.draw([replace(asked, style="ink")], Quiet())
    assert isinstance(outcome, UsageError) and "this service offers none" in str(outcome)


def test_the_option_is_read() -> None:
    found = parsed_styles(["ink=a.safetensors", "wood cut=b/x.safetensors, c.safetensors"])
    assert found == {
        "ink": (Path("a.safetensors"),),
        "wood cut": (Path("b/x.safetensors"), Path("c.safetensors")),
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["ink"], "expected NAME=FILE"),
        (["ink="], "expected NAME=FILE"),
        (["=a.safetensors"], "expected NAME=FILE"),
        (["<b>=a.safetensors"], "expected NAME=FILE"),
        (["ink=a.safetensors", "ink=b.safetensors"], "is given twice"),
    ],
)
def test_an_option_of_another_form_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parsed_styles(texts)


def test_a_file_that_is_no_lora_stops_the_start(random_model: Path) -> None:
    weights = random_model / "unet" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(InputError, match="holds no LoRA weights"):
        LocalPainter(ModelSettings(str(random_model), styles={"ink": (weights,)}))
