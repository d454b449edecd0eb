"""The nodes against ComfyUI's contract, without ComfyUI."""

import importlib.util
import inspect
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffpc.errors import UsageError
from diffpc.identity_file import save_identity
from diffpc.person import gathered

FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"


@pytest.fixture(scope="module")
def nodes():
    """Loaded as ComfyUI loads a folder of custom nodes."""
    spec = importlib.util.spec_from_file_location(
        "custom_diffpc", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["custom_diffpc"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["custom_diffpc"], sys.modules["custom_diffpc.nodes"]


@pytest.fixture(scope="module")
def model(nodes, random_model):
    return nodes.NODE_CLASS_MAPPINGS["DiffPCLoad"]().load(str(random_model), device="cpu")[0]


def defaults(kind):
    """What ComfyUI passes where nobody changed a widget."""
    found = {}
    for name, (form, *more) in kind.INPUT_TYPES()["required"].items():
        if isinstance(form, list):
            found[name] = form[0]
        elif more:
            found[name] = more[0]["default"]
    return found


def test_the_contract(nodes):
    known = {"STRING", "INT", "FLOAT", "IMAGE", "DIFFPC_MODEL", "DIFFPC_IDENTITY", "DIFFPC_FACE"}
    assert set(nodes.NODE_CLASS_MAPPINGS) == set(nodes.NODE_DISPLAY_NAME_MAPPINGS)
    for kind in nodes.NODE_CLASS_MAPPINGS.values():
        inputs = kind.INPUT_TYPES()
        assert set(inputs) <= {"required", "optional"} and kind.CATEGORY == "Diff-PC"
        assert set(kind.RETURN_TYPES) <= known and len(kind.RETURN_NAMES) == len(kind.RETURN_TYPES)
        parameters = inspect.signature(getattr(kind, kind.FUNCTION)).parameters
        takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
        for name, (form, *more) in {**inputs["required"], **inputs.get("optional", {})}.items():
            assert takes_all or name in parameters
            assert isinstance(form, list) or form in known
            for options in more:
                assert {"default"} <= set(options) <= {"default", "min", "max", "step", "multiline"}
                assert "min" not in options or options["min"] <= options["default"] <= options["max"]


def test_from_a_photo_to_portraits(nodes, model, astronaut):
    kinds = nodes.NODE_CLASS_MAPPINGS
    photos = torch.from_numpy(np.stack([astronaut, astronaut])).float() / 255
    (identity,) = kinds["DiffPCIdentity"]().identify(model, photos)
    assert torch.equal(identity.params.shape, model.identify([astronaut]).params.shape)  # no level was lost
    given = defaults(kinds["DiffPCControl"]) | {"yaw": 20.0}
    face, shown = kinds["DiffPCControl"]().control(model, identity, **given)
    assert shown.shape == (1, 128, 128, 3) and 0 < shown.max() <= 1
    other, _ = kinds["DiffPCControl"]().control(
        model, identity, **{**given, "expression": "smile"}, target=photos
    )
    assert not torch.equal(other.rotation, face.rotation)
    given = defaults(kinds["DiffPCGenerate"]) | {"steps": 1, "count": 2, "width": 64, "height": 128}
    images, figures = kinds["DiffPCGenerate"]().generate(model, identity, face, **given)
    assert images.shape == (2, 128, 64, 3) and images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert [one["seed"] for one in json.loads(figures)] == [0, 1]


def test_an_identity_file(nodes, model, astronaut, tmp_path):
    node = nodes.NODE_CLASS_MAPPINGS["DiffPCIdentity"]()
    person = gathered([astronaut], ["me.jpg"], model.eyes)
    save_identity(person, model.eyes, tmp_path / "me.safetensors")
    (identity,) = node.identify(model, file=str(tmp_path / "me.safetensors"))
    assert torch.equal(identity.features.patches, person.identity.features.patches)
    with pytest.raises(UsageError, match="connect photos or name an identity file"):
        node.identify(model)
