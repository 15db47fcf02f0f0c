"""The networks of the papers in PyTorch, module by module as they published them.

Written from the papers' descriptions, as the oracle of the tests: nothing here
knows how nasjax computes. Tensors are ``[B, C, H, W]``.
"""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

torch.set_num_threads(1)


def batch_norm(channels: int) -> nn.Module:
    """Batch statistics, neither scale nor offset."""
    return nn.BatchNorm2d(channels, affine=False, track_running_stats=False)


def affine_batch_norm(channels: int) -> nn.Module:
    """Batch statistics, scale and offset."""
    return nn.BatchNorm2d(channels, affine=True, track_running_stats=False)


def convolution(inputs: int, outputs: int, size: int, **settings) -> nn.Module:
    return nn.Conv2d(inputs, outputs, size, bias=False, **settings)


class Zero(nn.Module):
    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class FactorizedReduce(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_1 = convolution(inputs, outputs // 2, 1, stride=2)
        self.conv_2 = convolution(inputs, outputs // 2, 1, stride=2)
        self.bn = batch_norm(outputs)

    def forward(self, x):
        x = self.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))


def relu_conv_bn(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        convolution(inputs, outputs, size, stride=stride, padding=size // 2),
        batch_norm(outputs),
    )


def dil_conv(channels: int, size: int, stride: int, dilation: int) -> nn.Module:
    padding = dilation * (size // 2)
    return nn.Sequential(
        nn.ReLU(),
        convolution(
            channels,
            channels,
            size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=channels,
        ),
        convolution(channels, channels, 1),
        batch_norm(channels),
    )


def sep_conv(channels: int, size: int, stride: int) -> nn.Module:
    return nn.Sequential(
        dil_conv(channels, size, stride, 1), dil_conv(channels, size, 1, 1)
    )


def avg_pool(stride: int) -> nn.Module:
    return nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)


def skip_connect(channels: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)


#: In alpha's order: (channels, stride) -> module.
DARTS_OPS = {
    "none": lambda c, s: Zero(s),
    "max_pool_3x3": lambda c, s: nn.Sequential(
        nn.MaxPool2d(3, stride=s, padding=1), batch_norm(c)
    ),
    "avg_pool_3x3": lambda c, s: nn.Sequential(avg_pool(s), batch_norm(c)),
    "skip_connect": skip_connect,
    "sep_conv_3x3": lambda c, s: sep_conv(c, 3, s),
    "sep_conv_5x5": lambda c, s: sep_conv(c, 5, s),
    "dil_conv_3x3": lambda c, s: dil_conv(c, 3, s, 2),
    "dil_conv_5x5": lambda c, s: dil_conv(c, 5, s, 2),
}
NASBENCH201_OPS = {
    "none": lambda c, s: Zero(s),
    "skip_connect": skip_connect,
    "nor_conv_1x1": lambda c, s: relu_conv_bn(c, c, 1, s),
    "nor_conv_3x3": lambda c, s: relu_conv_bn(c, c, 3, s),
    "avg_pool_3x3": lambda c, s: avg_pool(s),
}
OPS = {"darts": DARTS_OPS, "nasbench201": NASBENCH201_OPS}


class MixedOp(nn.Module):
    def __init__(self, ops: dict, channels: int, stride: int):
        super().__init__()
        self.ops = nn.ModuleDict({k: op(channels, stride) for k, op in ops.items()})

    def forward(self, x, weights):
        return sum(w * op(x) for w, op in zip(weights, self.ops.values(), strict=True))


class DartsCell(nn.Module):
    def __init__(self, ops, nodes, before, previous, channels, reduction, halve):
        super().__init__()
        self.nodes = nodes
        self.preprocess0 = (
            FactorizedReduce(before, channels)
            if halve
            else relu_conv_bn(before, channels, 1)
        )
        self.preprocess1 = relu_conv_bn(previous, channels, 1)
        self.edges = nn.ModuleList()
        for node in range(nodes):
            for source in range(2 + node):
                stride = 2 if reduction and source < 2 else 1
                self.edges.append(MixedOp(ops, channels, stride))

    def forward(self, s0, s1, weights):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        offset = 0
        for _ in range(self.nodes):
            state = sum(
                self.edges[offset + j](h, weights[offset + j])
                for j, h in enumerate(states)
            )
            offset += len(states)
            states.append(state)
        return torch.cat(states[2:], dim=1)


class DartsNetwork(nn.Module):
    """The search network; `forward` takes the relaxed weights of both cells."""

    def __init__(
        self,
        channels,
        num_classes,
        layers,
        nodes=4,
        names=tuple(DARTS_OPS),
        imagenet=False,
    ):
        super().__init__()
        ops = {name: DARTS_OPS[name] for name in names}
        self.imagenet = imagenet
        if imagenet:
            half = channels // 2
            self.stem0 = nn.Sequential(
                convolution(3, half, 3, stride=2, padding=1),
                affine_batch_norm(half),
                nn.ReLU(),
                convolution(half, channels, 3, stride=2, padding=1),
                affine_batch_norm(channels),
            )
            self.stem1 = nn.Sequential(
                nn.ReLU(),
                convolution(channels, channels, 3, stride=2, padding=1),
                affine_batch_norm(channels),
            )
        else:
            self.stem = nn.Sequential(
                convolution(3, 3 * channels, 3, padding=1),
                affine_batch_norm(3 * channels),
            )
        before = previous = channels if imagenet else 3 * channels
        self.cells = nn.ModuleList()
        self.reductions = [i in (layers // 3, 2 * layers // 3) for i in range(layers)]
        halve = imagenet
        for reduction in self.reductions:
            channels *= 2 if reduction else 1
            self.cells.append(
                DartsCell(ops, nodes, before, previous, channels, reduction, halve)
            )
            before, previous, halve = previous, nodes * channels, reduction
        self.classifier = nn.Linear(previous, num_classes)

    def forward(self, images, weights):
        s0 = (self.stem0 if self.imagenet else self.stem)(images)
        s1 = self.stem1(s0) if self.imagenet else s0
        for cell, reduction in zip(self.cells, self.reductions, strict=True):
            which = weights["reduce" if reduction else "normal"]
            s0, s1 = s1, cell(s0, s1, which)
        return self.classifier(s1.mean(dim=(2, 3)))


class NasBench201Cell(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.edges = nn.ModuleList(
            MixedOp(NASBENCH201_OPS, channels, 1) for _ in range(6)
        )

    def forward(self, x, weights):
        nodes, edge = [x], 0
        for target in (1, 2, 3):
            total = 0.0
            for source in range(target):
                total = total + self.edges[edge](nodes[source], weights[edge])
                edge += 1
            nodes.append(total)
        return nodes[-1]


class ResidualBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = relu_conv_bn(channels, 2 * channels, 3, 2)
        self.second = relu_conv_bn(2 * channels, 2 * channels, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2), convolution(channels, 2 * channels, 1)
        )

    def forward(self, x):
        return self.shortcut(x) + self.second(self.first(x))


class NasBench201Network(nn.Module):
    """The search network; `forward` takes the relaxed weights of the cell."""

    def __init__(self, channels, num_classes, cells):
        super().__init__()
        self.stem = nn.Sequential(
            convolution(3, channels, 3, padding=1), affine_batch_norm(channels)
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(NasBench201Cell(channels * 2**stage) for _ in range(cells))
            for stage in range(3)
        )
        self.residuals = nn.ModuleList(
            ResidualBlock(channels * 2**stage) for stage in range(2)
        )
        self.last = nn.Sequential(affine_batch_norm(4 * channels), nn.ReLU())
        self.classifier = nn.Linear(4 * channels, num_classes)

    def forward(self, images, weights):
        x = self.stem(images)
        for stage, cells in enumerate(self.stages):
            if stage:
                x = self.residuals[stage - 1](x)
            for cell in cells:
                x = cell(x, weights["cell"])
        return self.classifier(self.last(x).mean(dim=(2, 3)))
