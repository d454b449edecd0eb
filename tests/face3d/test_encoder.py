import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from diffpc.errors import InputError, UsageError
from diffpc.face3d.encoder import (
    INITIAL_CAMERA_SCALE,
    SMIRK_PREFIX,
    EncoderSettings,
    FaceEncoder,
    _Backbone,
    _SameConv2d,
    load_smirk,
    smirk_state_dict,
)

MANIFEST = json.loads((Path(__file__).parent / "smirk_encoder_keys.json").read_text())
SMALL = EncoderSettings(4, 3, 0, 0, shape_backbone="small", expression_backbone="small")


@pytest.fixture(scope="module")
def random_weights():
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, (shape, dtype) in MANIFEST.items():
        value = torch.rand(shape, generator=generator) + 0.5 if shape else torch.zeros(())
        if name.endswith("weight") and len(shape) > 1:
            value = (value - 1) * (12 / value[0].numel()) ** 0.5
        weights[name] = value.to(getattr(torch, dtype.removeprefix("torch.")))
    return weights


def test_names_shapes_and_types_are_smirks():
    state = FaceEncoder().state_dict()
    assert list(state) == list(MANIFEST)
    assert {name: [list(value.shape), str(value.dtype)] for name, value in state.items()} == MANIFEST


def test_published_checkpoint_loads_strictly(tmp_path, random_weights):
    checkpoint = {SMIRK_PREFIX + name: value for name, value in random_weights.items()}
    checkpoint["smirk_generator.weight"] = torch.zeros(1)
    torch.save(checkpoint, tmp_path / "SMIRK_em1.pt")
    encoder = load_smirk(tmp_path / "SMIRK_em1.pt")
    assert not encoder.training
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, random_weights[name])


def test_checkpoint_of_another_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="smirk_encoder"):
        smirk_state_dict({"unet.weight": torch.zeros(1)})
    torch.save({SMIRK_PREFIX + "pose_encoder.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="does not fit"):
        load_smirk(tmp_path / "other.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(InputError, match="list"):
        load_smirk(tmp_path / "list.pt")


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint"])
def test_broken_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "broken.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.pt"):
        load_smirk(path)


def test_output_is_bounded_as_in_smirk(random_weights):
    encoder = FaceEncoder().eval()
    encoder.load_state_dict(random_weights)
    bias = encoder.get_parameter("expression_encoder.expression_layers.0.bias")
    with torch.no_grad():
        encoder.get_parameter("expression_encoder.expression_layers.0.weight").zero_()
        bias.copy_(torch.arange(55.0))
        bias[50:] = torch.tensor([-1.0, 2.0, -0.5, 1.0, -1.0])
        output = encoder(torch.rand(2, 3, 64, 64))
    assert torch.equal(output.expression, torch.arange(50.0).expand(2, 50))
    assert torch.equal(output.eyelid[0], torch.tensor([0.0, 1.0]))
    assert torch.equal(output.jaw[0], torch.tensor([0.0, 0.2, -0.2]))
    assert output.shape.shape == (2, 300)
    assert output.rotation.shape == output.camera.shape == (2, 3)


def test_smaller_heads_without_eyelids_and_jaw():
    output = FaceEncoder(SMALL).eval()(torch.rand(2, 3, 48, 32))
    assert output.shape.shape == (2, 4)
    assert output.expression.shape == (2, 3)
    assert output.eyelid.shape == output.jaw.shape == (2, 0)


def test_untrained_encoder_begins_at_the_mean_frontal_face():
    output = FaceEncoder(SMALL).eval()(torch.rand(1, 3, 32, 32))
    assert torch.equal(output.shape, torch.zeros(1, 4))
    torch.testing.assert_close(output.rotation, torch.zeros(1, 3), atol=1e-2, rtol=0)
    torch.testing.assert_close(output.camera, torch.tensor([[INITIAL_CAMERA_SCALE, 0, 0]]), atol=1e-2, rtol=0)


def test_gradient_reaches_every_parameter():
    encoder = FaceEncoder(SMALL)
    output = encoder(torch.rand(2, 3, 32, 32))
    fields = (output.shape, output.expression, output.rotation, output.camera)
    sum(value.sum() for value in fields).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_settings_that_cannot_be_built_are_refused():
    with pytest.raises(UsageError, match="n_jaw = 2"):
        EncoderSettings(n_jaw=2)
    # Where annotations are checked at run time, that check comes first.
    with pytest.raises((UsageError, TypeError), match="'huge'"):
        EncoderSettings(pose_backbone="huge")


@pytest.mark.parametrize(("size", "expected"), [(4, [6.0, 7.0]), (5, [3.0, 9.0, 9.0])])
def test_same_padding_by_hand(size, expected):
    """Even sizes are padded after only (1+2+3, 3+4), odd ones on both sides (1+2, 2+3+4, 4+5)."""
    conv = _SameConv2d(1, 1, (1, 3), stride=2, bias=False)
    torch.nn.init.ones_(conv.weight)
    row = torch.arange(1.0, size + 1).view(1, 1, 1, size)
    assert conv(row).flatten().tolist() == expected


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (1, 2)])
def test_same_padding_against_its_definition(size):
    conv = _SameConv2d(2, 3, 3, stride=2, bias=False).double()
    image = torch.rand(1, 2, *size, dtype=torch.float64)
    result = conv(image)
    out_height, out_width = -(-size[0] // 2), -(-size[1] // 2)
    assert result.shape == (1, 3, out_height, out_width)
    first = [1 if side % 2 else 0 for side in size]
    for i in range(out_height):
        for j in range(out_width):
            expected = torch.zeros(3, dtype=torch.float64)
            for y in range(3):
                for x in range(3):
                    row, column = 2 * i + y - first[0], 2 * j + x - first[1]
                    if 0 <= row < size[0] and 0 <= column < size[1]:
                        expected += conv.weight[:, :, y, x] @ image[0, :, row, column]
            torch.testing.assert_close(result[0, :, i, j], expected)


@pytest.mark.parametrize("kind", ["small", "large"])
def test_backbone_agrees_with_timm(kind, random_weights):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(f"tf_mobilenetv3_{kind}_minimal_100", pretrained=False, features_only=True)
    prefix = {"small": "pose_encoder", "large": "shape_encoder"}[kind] + ".encoder."
    weights = {
        name.removeprefix(prefix): value for name, value in random_weights.items() if name.startswith(prefix)
    }
    ours = _Backbone(kind)
    for module in (ours, theirs):
        module.load_state_dict(weights, strict=True)
        module.eval()
    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        expected = functional.adaptive_avg_pool2d(theirs(image)[-1], 1).flatten(1)
        torch.testing.assert_close(ours(image), expected, atol=1e-5, rtol=1e-5)
