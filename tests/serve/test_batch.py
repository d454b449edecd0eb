"""Portraits drawn together: each as if it had been drawn alone, up to rounding."""

import numpy as np
import pytest

from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement, condition, posed
from diffpc.loading import load_pipeline
from diffpc.pipeline import DiffPCPipeline, PortraitSettings
from diffpc.serve.batch import Sitter, draw_together
from diffpc.types import Image


@pytest.fixture(scope="module")
def pipeline() -> DiffPCPipeline:
    made = load_pipeline()
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def sitters(pipeline: DiffPCPipeline, astronaut: Image) -> list[Sitter]:
    """One person, two poses, two prompts; the first face is small."""
    identity = pipeline.describe([astronaut], [pipeline.eyes.face(astronaut, None, "photo", "--face")])
    model, size = pipeline.eyes.model, pipeline.default_size
    asked = [(Angles(20.0, 0.0, 0.0), Placement(0.4, 0.5, 0.25)), (Angles(-20.0, 5.0, 0.0), Placement())]
    params = [posed(model, angles, place, size) for angles, place in asked]
    wanted = [condition(identity.params, identity.params, one) for one in params]
    prompts = ("a portrait photo, a blue background", "a photo of a person outdoors")
    return [Sitter(identity, wanted[n], prompts[n], 3 + n) for n in range(2)]


@pytest.mark.parametrize("face_pass", ["off", "on"])
def test_company_changes_only_the_last_bits(
    pipeline: DiffPCPipeline, sitters: list[Sitter], face_pass: str
) -> None:
    settings = PortraitSettings(steps=2, guidance=2.0, face_pass=face_pass)  # pyright: ignore[reportArgumentType]
    together = draw_together(pipeline, sitters, settings, lambda done, estimate: None)
    for sitter, found in zip(sitters, together, strict=True):
        own = PortraitSettings(steps=2, guidance=2.0, seed=sitter.seed, face_pass=settings.face_pass)
        alone = pipeline(sitter.identity, sitter.params, sitter.prompt, own)
        assert found.face == alone.face and (found.face is None) == (face_pass == "off")
        assert found.portraits[0].settings == alone.portraits[0].settings
        away = np.abs(found.portraits[0].image.astype(int) - alone.portraits[0].image)
        assert away.max() <= 2
