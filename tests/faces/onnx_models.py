"""Small ONNX files with the graph forms of antelopev2, filled with random weights."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from diffpc.faces.iresnet import IResNet, IResNetSettings


def random_iresnet(settings: IResNetSettings, seed: int = 0) -> IResNet:
    """A network whose norms, too, are random."""
    torch.manual_seed(seed)
    network = IResNet(settings).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.weight.uniform_(0.6, 1.4)
            module.bias.uniform_(-0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, torch.nn.PReLU):
            module.weight.uniform_(0.1, 0.4)
    return network


class _Writer:
    def __init__(self, fold: bool) -> None:
        self.fold = fold
        self.nodes, self.stored = [], []

    def add(self, kind, inputs, **attributes):
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def keep(self, values):
        # numbers, as exporters give them: nothing may be read off the names
        name = str(500 + len(self.stored))
        array = np.ascontiguousarray(np.asarray(values), dtype=np.float32)
        self.stored.append(numpy_helper.from_array(array, name))
        return name

    def norm(self, source, norm):
        values = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        return self.add("BatchNormalization", [source, *(self.keep(v) for v in values)], epsilon=norm.eps)

    def convolution(self, source, convolution, norm):
        size, stride = convolution.kernel_size[0], convolution.stride[0]
        attributes = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [size // 2] * 4}
        if not self.fold:
            made = self.add("Conv", [source, self.keep(convolution.weight)], **attributes)
            return self.norm(made, norm)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = convolution.weight * scale[:, None, None, None]
        bias = norm.bias - norm.running_mean * scale
        return self.add("Conv", [source, self.keep(weight), self.keep(bias)], **attributes)

    def prelu(self, source, prelu):
        return self.add("PRelu", [source, self.keep(prelu.weight[:, None, None])])

    def block(self, source, block):
        values = self.convolution(self.norm(source, block.bn1), block.conv1, block.bn2)
        values = self.convolution(self.prelu(values, block.prelu), block.conv2, block.bn3)
        shortcut = self.convolution(source, *block.downsample) if block.downsample is not None else source
        return self.add("Add", [values, shortcut])

    def save(self, path, inputs, outputs):
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, str(path))


def save_iresnet(network: IResNet, path, fold: bool = True) -> None:
    """Write the graph as torch's exporter does: norms after convolutions folded, the others kept."""
    writer, settings = _Writer(fold), network.settings
    values = writer.prelu(writer.convolution("input", network.conv1, network.bn1), network.prelu)
    for index in range(1, len(settings.widths) + 1):
        for block in network.get_submodule(f"layer{index}"):
            values = writer.block(values, block)
    values = writer.add("Flatten", [writer.norm(values, network.bn2)], axis=1)
    stored = [writer.keep(network.fc.weight), writer.keep(network.fc.bias)]
    last = writer.norm(writer.add("Gemm", [values, *stored], transB=1), network.features)
    side = settings.size
    writer.save(
        path,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, side, side])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N", settings.dimension])],
    )


def save_scrfd(path, seed: int = 0) -> None:
    """Write a detector with SCRFD's nine outputs, which vary with the photo."""
    random, writer = np.random.default_rng(seed), _Writer(fold=True)
    outputs = {1: [], 4: [], 10: []}
    for stride in (8, 16, 32):
        pooled = writer.add("AveragePool", ["input"], kernel_shape=[stride] * 2, strides=[stride] * 2)
        for length, made in outputs.items():
            weight = random.normal(size=(2 * length, 3, 1, 1)) * {1: 2.5, 4: 0.5, 10: 1.0}[length]
            bias = np.full(2 * length, {1: -1.5, 4: 2.5, 10: 0.0}[length])
            values = writer.add("Conv", [pooled, writer.keep(weight), writer.keep(bias)], kernel_shape=[1, 1])
            values = writer.add("Transpose", [values], perm=[2, 3, 0, 1])
            writer.stored.append(numpy_helper.from_array(np.array([-1, length]), f"s{stride}_{length}"))
            values = writer.add("Reshape", [values, f"s{stride}_{length}"])
            made.append(writer.add("Sigmoid", [values]) if length == 1 else values)
    names = [(name, length) for length, made in outputs.items() for name in made]
    writer.save(
        path,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", length]) for name, length in names],
    )
