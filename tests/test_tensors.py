"""uint8 pictures and tensors in [-1, 1] are the same thing."""

import numpy as np
import pytest
import torch

from diffpc.tensors import to_image, to_tensor


def test_values_and_layout() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[1, 2] = (255, 0, 51)
    tensor = to_tensor(image)
    assert tensor.shape == (3, 2, 3) and tensor.dtype == torch.float32
    assert torch.allclose(tensor[:, 1, 2], torch.tensor([1.0, -1.0, -0.6]))


def test_every_step_survives_the_round_trip() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert (to_image(to_tensor(image)) == image).all()


def test_clips_and_rounds_to_the_nearest_step() -> None:
    tensor = torch.tensor([-7.0, 7.0, 0.01]).reshape(3, 1, 1)
    assert to_image(tensor).tolist() == [[[0, 255, 129]]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type_with_gradient(dtype: torch.dtype) -> None:
    assert to_image(torch.ones(3, 4, 5, dtype=dtype, requires_grad=True)).min() == 255
