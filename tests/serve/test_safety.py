"""The NSFW check with diffusers' own checker of random weights, and the watermark."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

from diffpc.errors import InputError
from diffpc.images import cover_crop, decode_image
from diffpc.serve.safety import GREY, SafetySettings, load_checker, load_safety
from diffpc.serve.watermark import is_marked, mark
from diffpc.types import Image


@pytest.fixture(scope="module")
def checkers(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A checker of the real layout, tiny, that finds everything unsuitable, and one that finds nothing so."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=sizes, vision_config={**sizes, "image_size": 32, "patch_size": 16}, projection_dim=8
    )
    folders: dict[bool, Path] = {}
    for strict, threshold in ((True, -2.0), (False, 2.0)):
        network = StableDiffusionSafetyChecker(config)
        torch.nn.init.constant_(
            network.concept_embeds_weights, threshold
        )  # of a cosine: always over, or never
        folder = folders[strict] = tmp_path_factory.mktemp("checker")
        network.save_pretrained(folder)
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
            folder
        )
    return folders


def test_an_unsuitable_picture_is_withheld(checkers: dict[bool, Path], astronaut: Image) -> None:
    strict = load_safety(SafetySettings(checkers[True]), 1024, torch.device("cpu"))
    given, why = strict(astronaut)
    assert why is not None and "change the prompt or the seed" in why
    assert np.unique(given).tolist() == [GREY]
    mild = load_safety(SafetySettings(checkers[False]), 1024, torch.device("cpu"))
    given, why = mild(astronaut)
    assert why is None and is_marked(given) and mild.notes == ()


def test_what_does_not_run_is_said(checkers: dict[bool, Path]) -> None:
    absent = load_safety(SafetySettings(), 1024, "cpu")
    assert absent.checker is None and "pass --nsfw-checker" in absent.notes[0]
    off = load_safety(SafetySettings(checkers[True], nsfw=False, watermark=False), 1024, "cpu")
    assert (off.checker, off.marker) == (None, None)
    assert ["--no-nsfw" in off.notes[0], "--no-watermark" in off.notes[1]] == [True, True]
    assert load_safety(SafetySettings(), 128, "cpu").notes == ()


def test_a_broken_checker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no safety checker"):
        load_checker(tmp_path, "cpu")
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_checker(tmp_path, "cpu")


@pytest.mark.parametrize("side", [128, 512])
def test_the_mark_survives_jpeg_and_is_not_seen(astronaut: Image, side: int) -> None:
    from io import BytesIO

    from PIL import Image as PILImage

    picture = cover_crop(astronaut, side, side)
    marked = mark(picture)
    assert np.array_equal(marked, mark(picture))
    stream = BytesIO()
    PILImage.fromarray(marked).save(stream, "JPEG", quality=75)
    assert is_marked(decode_image(stream.getvalue(), "it"))
    assert not is_marked(picture)
    error = np.mean((marked.astype(float) - picture) ** 2)
    assert 10 * np.log10(255**2 / error) > 36
