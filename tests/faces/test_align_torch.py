import cv2
import numpy as np
import pytest
import torch

from diffpc.faces.align import ARCFACE_112, DLIB_150, align, alignment_matrix
from diffpc.faces.align_torch import align_batch, alignment_matrices, fit_similarities, invert_matrices
from diffpc.types import Face

TEMPLATES = pytest.mark.parametrize("template", [ARCFACE_112, DLIB_150], ids=["arcface", "dlib"])


def as_tensor(image):
    return torch.tensor(image).permute(2, 0, 1)[None].float() / 127.5 - 1


@TEMPLATES
@pytest.mark.parametrize("scale", [0.6, 1.0, 2.3])
def test_pixels_agree_with_the_photo_alignment(astronaut, astronaut_face, template, scale):
    photo = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    points = astronaut_face.landmarks * scale
    face = Face((0.0, 0.0, 1.0, 1.0), points, astronaut_face.layout, 1.0)
    expected = align(photo, face, template)
    batch = align_batch(as_tensor(photo), torch.from_numpy(points)[None], face.layout, template)
    ours = (batch[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(ours - expected.pixels).max() < 1.5


@TEMPLATES
def test_matrices_agree_with_the_photo_alignment(astronaut_face, template):
    points = astronaut_face.landmarks
    expected = alignment_matrix(points, astronaut_face.layout, template)
    ours = alignment_matrices(torch.from_numpy(points)[None], astronaut_face.layout, template)
    assert np.abs(ours[0].numpy() - expected).max() < 1e-9


def test_a_chip_does_not_depend_on_its_batch(astronaut, astronaut_face):
    images = as_tensor(astronaut).repeat(2, 1, 1, 1)
    points = torch.from_numpy(astronaut_face.landmarks)
    larger = (points - 256) * 2.5 + 256  # its chip is coarser and is supersampled
    together = align_batch(images, torch.stack([points, larger]), astronaut_face.layout, DLIB_150)
    for index, own in enumerate((points, larger)):
        alone = align_batch(images[:1], own[None], astronaut_face.layout, DLIB_150)
        assert torch.equal(together[index], alone[0])


def test_gradients_reach_pixels_and_landmarks(astronaut, astronaut_face):
    images = as_tensor(astronaut).requires_grad_()
    points = torch.from_numpy(astronaut_face.landmarks).float()[None].requires_grad_()
    align_batch(images, points, astronaut_face.layout, DLIB_150).square().sum().backward()
    x0, y0, x1, y1 = (int(value) for value in astronaut_face.box)
    assert (images.grad[0, :, y0:y1, x0:x1].abs() > 0).float().mean() > 0.9
    assert images.grad[0, :, -20:].abs().max() == 0
    assert points.grad.isfinite().all()
    assert points.grad.abs().max() > 0


def test_the_fit_and_the_inverse_have_the_right_derivatives():
    source, target = torch.randn(2, 2, 5, 2, dtype=torch.float64).requires_grad_().unbind(0)
    torch.autograd.gradcheck(lambda a, b: invert_matrices(fit_similarities(a, b)), (source, target))
