import pytest
import torch

from diffpc.identity.local import load_local_features
from diffpc.train.features import kept_features, patch_features


def batch(kept_global, kept_local):
    draw = torch.Generator().manual_seed(0)
    return {
        "vector": torch.randn(2, 1, 6, generator=draw),
        "patches": torch.randn(2, 7, 5, generator=draw).half(),
        "kept_global": torch.tensor(kept_global),
        "kept_local": torch.tensor(kept_local),
    }


def test_dropped_features_are_zeros():
    given = batch([True, False], [False, True])
    vectors, patches = kept_features(given, None)
    assert torch.equal(vectors[0], given["vector"][0]) and not vectors[1].any()
    assert not patches[0].any() and torch.equal(patches[1], given["patches"][1].float())


def test_patch_features_are_made_of_crops():
    local = load_local_features("dlib")
    crops = torch.rand(2, 3, 150, 150) * 2 - 1
    assert torch.equal(patch_features({"crop": crops}, local), local(crops))


def test_crops_need_something_that_looks_at_them():
    with pytest.raises(ValueError, match="crops"):
        patch_features({"crop": torch.zeros(1, 3, 150, 150)}, None)
