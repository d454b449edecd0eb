"""One contract for every entry of each backend table."""

import numpy as np
import pytest
import torch

from diffpc.errors import InputError, UsageError
from diffpc.faces.detect import DETECTORS, load_detector
from diffpc.faces.embed import EMBEDDERS, FaceEmbedder, load_embedder
from diffpc.faces.matte import MATTERS, load_matter


def build(loader, name):
    try:
        return loader(name)
    except (UsageError, InputError) as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors(name, astronaut):
    detector = build(load_detector, name)
    faces = detector(astronaut)
    assert len(faces) == 1
    x0, y0, x1, y1 = faces[0].box
    assert 0 <= x0 < x1 <= 512
    assert 0 <= y0 < y1 <= 512
    assert faces[0].landmarks.shape == (5, 2)
    assert ((faces[0].landmarks > [x0, y0]) & (faces[0].landmarks < [x1, y1])).all()
    again = detector(astronaut)
    assert np.array_equal(again[0].landmarks, faces[0].landmarks)
    assert detector(np.full((48, 48, 3), 90, np.uint8)) == ()
    assert detector.tried


@pytest.mark.parametrize("name", EMBEDDERS)
def test_embedders(name, astronaut, astronaut_face):
    embedder = build(load_embedder, name)
    assert isinstance(embedder, FaceEmbedder)
    image = (torch.tensor(astronaut).permute(2, 0, 1)[None].float() / 127.5 - 1).requires_grad_()
    points = torch.from_numpy(astronaut_face.landmarks)[None]
    vectors = embedder.embed(image, points, astronaut_face.layout)
    assert vectors.shape == (1, embedder.dimension)
    assert torch.equal(vectors, embedder.embed(image, points, astronaut_face.layout))
    vectors.sum().backward()
    assert image.grad.abs().sum() > 0
    assert embedder.metric.kind in ("l2", "cosine")
    size = embedder.template.size
    assert embedder.embed_chips(torch.zeros(2, 3, size, size)).shape == (2, embedder.dimension)


@pytest.mark.parametrize("name", MATTERS)
def test_matters(name, astronaut, astronaut_face):
    matter = build(load_matter, name)
    matte = matter(astronaut, astronaut_face)
    assert matte.shape == astronaut.shape[:2]
    assert matte.dtype == np.float32
    assert matte.min() >= 0
    assert matte.max() <= 1
    assert matte[70:160, 200:250].mean() > 0.98
    assert np.array_equal(matte, matter(astronaut, astronaut_face))
