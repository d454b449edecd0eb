import pytest
import torch

from diffpc.errors import InputError
from diffpc.faces.iresnet import IResNetSettings

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from diffpc.faces.iresnet_onnx import load_iresnet  # noqa: E402

from .onnx_models import random_iresnet, save_iresnet  # noqa: E402

SMALL = IResNetSettings(stem_width=5, widths=(5, 8, 6, 9), depths=(2, 1, 3, 1), dimension=12, size=48)


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "unfolded"])
def test_the_network_is_the_graph(tmp_path, fold):
    original = random_iresnet(SMALL)
    path = tmp_path / "net.onnx"
    save_iresnet(original, path, fold)
    chips = torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = torch.from_numpy(session.run(None, {"input": chips.numpy()})[0])
    ours = load_iresnet(path)
    assert ours.settings == SMALL
    assert torch.allclose(original(chips), expected, atol=1e-4)  # the test's own writer is right
    assert torch.allclose(ours(chips), expected, atol=1e-4)
    assert expected.std() > 0.1
    assert not ours.training


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    save_iresnet(random_iresnet(SMALL), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="damaged"):
        load_iresnet(path)
    with pytest.raises(InputError, match="does not exist"):
        load_iresnet(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Gemm", "one Gemm"),
        ("PRelu", "PReLUs"),
        ("BatchNormalization", "shapes"),
    ],
)
def test_another_graph_is_refused(tmp_path, kind, message):
    path = tmp_path / "net.onnx"
    save_iresnet(random_iresnet(SMALL), path)
    model = onnx.load(str(path))
    model.graph.node.remove([node for node in model.graph.node if node.op_type == kind][0])  # noqa: RUF015
    onnx.save(model, str(path))
    with pytest.raises(InputError, match=message):
        load_iresnet(path)


def test_other_shapes_are_refused(tmp_path):
    path = tmp_path / "net.onnx"
    network = random_iresnet(SMALL)
    network.layer3[1].prelu = torch.nn.PReLU(7)
    save_iresnet(network.requires_grad_(False), path)
    with pytest.raises(InputError, match=r"layer3\.1\.prelu\.weight.*\(7,\), \(6,\)"):
        load_iresnet(path)
