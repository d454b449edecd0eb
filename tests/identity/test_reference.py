import numpy as np
import pytest
import torch

from diffpc.faces.align import cut_crop, face_crop
from diffpc.faces.detect import load_detector
from diffpc.faces.embed import load_embedder
from diffpc.faces.matte import keep_everything
from diffpc.identity.local import load_dlib_features
from diffpc.identity.reference import ReferenceFeatures, ReferenceTools, averaged, reference_features
from diffpc.tensors import to_tensor


@pytest.fixture(scope="module")
def tools():
    return ReferenceTools(load_embedder("dlib"), load_dlib_features(), keep_everything(), 1.3)


@pytest.fixture(scope="module")
def face(astronaut):
    return load_detector("dlib")(astronaut)[0]


def test_features_of_a_photo(tools, astronaut, face):
    found = reference_features(astronaut, face, tools)
    assert found.global_vector.shape == (1, 1, 128)
    assert found.global_vector.norm().item() == pytest.approx(1, abs=1e-5)
    assert found.patches.shape == (1, 64, 133)
    assert found.aligned.shape == found.cut.shape == (150, 150, 3)
    wanted = cut_crop(astronaut, face_crop(face, 150, 1.3))  # 1.3 sides of the face's box
    assert np.array_equal(found.cut, wanted)
    assert torch.equal(found.patches, tools.local(to_tensor(wanted)[None]))
    assert not found.global_vector.requires_grad


def test_the_patches_see_no_background(astronaut, face):
    def nobody(image, face):
        return np.zeros(image.shape[:2], np.float32)

    tools = ReferenceTools(load_embedder("dlib"), load_dlib_features(), nobody, 1.3)
    assert len(np.unique(reference_features(astronaut, face, tools).cut)) == 1


def one(vector, patch):
    return ReferenceFeatures(
        torch.tensor([[vector]]),
        torch.full((1, 2, 3), patch),
        np.full((2, 2, 3), int(patch), np.uint8),
        np.zeros((2, 2, 3), np.uint8),
    )


def test_several_photos_are_the_mean_of_unit_length():
    found = averaged([one([1.0, 0.0], 2.0), one([0.0, 1.0], 4.0), one([0.0, 1.0], 6.0)])
    assert torch.allclose(found.global_vector, torch.tensor([[[1.0, 2.0]]]) / 5**0.5)
    assert torch.equal(found.patches, torch.full((1, 2, 3), 4.0))
    assert found.aligned[0, 0, 0] == 2  # the first photo's


def test_one_photo_is_itself():
    only = one([1.0, 0.0], 2.0)
    assert averaged([only]) is only
