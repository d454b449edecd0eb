"""Inception in the published file's layout, with random weights."""

import numpy as np
import pytest
import torch

from diffpc.errors import InputError
from diffpc.evaluate.inception import Inception, load_inception
from diffpc.weights import sha256


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(0)
    network = Inception()
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    # The published file has no counters of batches.
    state = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    torch.save(state, path)
    return path


def test_the_layout_is_inception_v3s(file):
    state = torch.load(file, weights_only=True)
    # 94 convolutions with four tensors of normalisation each; torchvision counts 21,785,568 parameters without
    # classifiers.
    assert len(state) == 94 * 5 + 2
    assert (
        sum(value.numel() for name, value in state.items() if "running" not in name)
        == 21_785_568 + 1008 * 2049
    )
    assert state["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    assert state["Mixed_6c.branch7x7_2.conv.weight"].shape == (160, 160, 1, 7)


def test_features_of_a_picture(file, astronaut):
    witness = load_inception(file, sha256(file)[:8])
    vector = witness(astronaut)
    assert vector.shape == (2048,) and np.isfinite(vector).all() and vector.std() > 0
    assert np.array_equal(vector, witness(astronaut))


def test_only_the_published_file_is_read(file, tmp_path):
    with pytest.raises(InputError, match="does not begin with 6726825d"):
        load_inception(file)
    (tmp_path / "x.pth").write_bytes(file.read_bytes())
    torch.save({"fc.bias": torch.zeros(3)}, tmp_path / "y.pth")
    with pytest.raises(InputError, match="is no Inception of FID"):
        load_inception(tmp_path / "y.pth", sha256(tmp_path / "y.pth"))
    with pytest.raises(InputError, match="no such file"):
        load_inception(tmp_path / "none.pth")
