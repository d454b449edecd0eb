"""Averaging models: the tool that made the bundled weights of three."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffpc.errors import UsageError
from tools.tiny.average import Share, average, mean


def model(folder, values):
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"name": folder.name}))
    save_file(values, folder / "unet" / "weights.safetensors", metadata={"format": "pt"})
    return folder


def test_weights_are_averaged_and_the_rest_is_the_firsts(tmp_path):
    one = model(tmp_path / "one", {"a": torch.tensor([1.0, -2.0]).half(), "b": torch.tensor([-0.0])})
    other = model(tmp_path / "other", {"a": torch.tensor([3.0, 6.0]).half(), "b": torch.tensor([-0.0])})
    average([Share(one, 0.75), Share(other, 0.25)], tmp_path / "new")
    found = load_file(tmp_path / "new" / "unet" / "weights.safetensors")
    assert found["a"].tolist() == [1.5, 0.0] and found["a"].dtype == torch.float16
    assert torch.signbit(found["b"]).all()  # what is the same stays so bit for bit
    assert json.loads((tmp_path / "new" / "model_index.json").read_text()) == {"name": "one"}
    with pytest.raises(UsageError, match="exists"):
        average([Share(one, 1.0)], tmp_path / "new")


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(UsageError, match="layouts"):
        mean([{"a": torch.zeros(2)}, {"a": torch.zeros(3)}], [0.5, 0.5])
    with pytest.raises(UsageError, match="sum to 1"):
        average([Share(tmp_path, 0.5)], tmp_path / "new")
