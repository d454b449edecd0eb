import torch

from diffpc.faces.iresnet import IResNet, IResNetSettings

TINY = IResNetSettings(stem_width=4, widths=(4, 6), depths=(2, 1), dimension=8, size=20)


def test_the_default_is_iresnet_100():
    with torch.device("meta"):
        network = IResNet()
    assert network.settings.map_size == 7
    assert tuple(network.fc.weight.shape) == (512, 25088)
    assert [len(network.get_submodule(f"layer{index}")) for index in (1, 2, 3, 4)] == [3, 13, 30, 3]
    # insightface's published count for r100, running statistics not included
    assert sum(parameter.numel() for parameter in network.parameters()) == 65_156_160


def test_names_are_those_of_the_training_code():
    names = set(IResNet(TINY).state_dict())
    assert {
        "conv1.weight",
        "bn1.weight",
        "prelu.weight",
        "bn2.bias",
        "fc.weight",
        "features.running_var",
    } <= names
    assert {"layer1.0.downsample.0.weight", "layer1.1.bn3.bias", "layer2.0.conv2.weight"} <= names


def test_gradients_reach_the_chips():
    network = IResNet(TINY).eval().double()
    chips = torch.rand(2, 3, 20, 20, dtype=torch.float64, requires_grad=True)
    assert network(chips).shape == (2, 8)
    torch.autograd.gradcheck(network, (chips,), fast_mode=True)
