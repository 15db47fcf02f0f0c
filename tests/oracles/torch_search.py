"""The search networks of the papers in PyTorch, module by module as published.

Written from the papers' descriptions: the benchmark's other side and an oracle of the
tests, so nothing here knows how nasjax computes. Every operation of every edge is a
module. Tensors are ``[B, C, H, W]``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Of tests; the benchmark's processes take all cores (`torch_side`).
torch.set_num_threads(1)

#: What an edge runs: the weights ``[O]`` of a mixture, or the operations chosen.
Edge = Any
Ops = Mapping[str, Callable[[int, int], nn.Module]]


def batch_norm(channels: int) -> nn.Module:
    """Batch statistics, neither scale nor offset."""
    return nn.BatchNorm2d(channels, affine=False, track_running_stats=False)


def affine_batch_norm(channels: int) -> nn.Module:
    """Batch statistics, scale and offset."""
    return nn.BatchNorm2d(channels, affine=True, track_running_stats=False)


def convolution(inputs: int, outputs: int, size: int, **settings: Any) -> nn.Module:
    """A convolution without a bias."""
    return nn.Conv2d(inputs, outputs, size, bias=False, **settings)


class Zero(nn.Module):
    """No connection: zeros of the output's size."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H/s, W/s]``."""
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class FactorizedReduce(nn.Module):
    """The identity of stride 2: two 1×1 convolutions, of even and of odd pixels."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_1 = convolution(inputs, outputs // 2, 1, stride=2)
        self.conv_2 = convolution(inputs, outputs // 2, 1, stride=2)
        self.bn = batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Half the size."""
        x = self.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))


def relu_conv_bn(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Module:
    """ReLU, convolution, normalisation."""
    return nn.Sequential(
        nn.ReLU(),
        convolution(inputs, outputs, size, stride=stride, padding=size // 2),
        batch_norm(outputs),
    )


def dil_conv(channels: int, size: int, stride: int, dilation: int) -> nn.Module:
    """ReLU, depthwise, pointwise, normalisation."""
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
    """Twice the chain of `dil_conv`, undilated."""
    return nn.Sequential(
        dil_conv(channels, size, stride, 1), dil_conv(channels, size, 1, 1)
    )


def avg_pool(stride: int) -> nn.Module:
    """The mean of the pixels that are there."""
    return nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)


def skip_connect(channels: int, stride: int) -> nn.Module:
    """Identity."""
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)


#: In alpha's order: (channels, stride) -> module.
DARTS_OPS: Ops = {
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
NASBENCH201_OPS: Ops = {
    "none": lambda c, s: Zero(s),
    "skip_connect": skip_connect,
    "nor_conv_1x1": lambda c, s: relu_conv_bn(c, c, 1, s),
    "nor_conv_3x3": lambda c, s: relu_conv_bn(c, c, 3, s),
    "avg_pool_3x3": lambda c, s: avg_pool(s),
}
OPS: dict[str, Ops] = {"darts": DARTS_OPS, "nasbench201": NASBENCH201_OPS}


class Chosen(NamedTuple):
    """One operation of an edge and its factor."""

    operation: int
    weight: Tensor


class MixedOp(nn.Module):
    """An edge: all its operations, weighted, or one that was chosen."""

    def __init__(self, ops: Ops, channels: int, stride: int):
        super().__init__()
        self.ops = nn.ModuleDict({k: op(channels, stride) for k, op in ops.items()})

    def forward(self, x: Tensor, runs: Edge) -> Tensor:
        """The weighted sum, or the chosen operation alone."""
        modules = list(self.ops.values())
        if isinstance(runs, Chosen):
            return runs.weight * modules[runs.operation](x)
        total: Any = 0.0
        for weight, module in zip(runs, modules, strict=True):
            total = total + weight * module(x)
        return total


class DartsCell(nn.Module):
    """Two inputs, intermediate nodes that add their edges up, concatenated."""

    def __init__(
        self,
        ops: Ops,
        nodes: int,
        before: int,
        previous: int,
        channels: int,
        reduction: bool,
        halve: bool,
    ):
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

    def forward(self, s0: Tensor, s1: Tensor, runs: Sequence[Edge]) -> Tensor:
        """``runs`` is what each edge runs."""
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        offset = 0
        for _ in range(self.nodes):
            state = sum(
                self.edges[offset + j](h, runs[offset + j])
                for j, h in enumerate(states)
            )
            offset += len(states)
            states.append(state)
        return torch.cat(states[2:], dim=1)


class DartsNetwork(nn.Module):
    """The search network of DARTS."""

    def __init__(
        self,
        channels: int,
        num_classes: int,
        layers: int,
        nodes: int = 4,
        names: Sequence[str] = tuple(DARTS_OPS),
        imagenet: bool = False,
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

    def forward(self, images: Tensor, runs: Mapping[str, Sequence[Edge]]) -> Tensor:
        """``[B, Y]``; ``runs`` is what the edges of either cell type run."""
        s0 = (self.stem0 if self.imagenet else self.stem)(images)
        s1 = self.stem1(s0) if self.imagenet else s0
        for cell, reduction in zip(self.cells, self.reductions, strict=True):
            which = runs["reduce" if reduction else "normal"]
            s0, s1 = s1, cell(s0, s1, which)
        return self.classifier(s1.mean(dim=(2, 3)))


class NasBench201Cell(nn.Module):
    """Four nodes, each the sum of the edges from all before."""

    def __init__(self, channels: int):
        super().__init__()
        self.edges = nn.ModuleList(
            MixedOp(NASBENCH201_OPS, channels, 1) for _ in range(6)
        )

    def forward(self, x: Tensor, runs: Sequence[Edge]) -> Tensor:
        """``runs`` is what each edge runs."""
        nodes, edge = [x], 0
        for target in (1, 2, 3):
            total: Any = 0.0
            for source in range(target):
                total = total + self.edges[edge](nodes[source], runs[edge])
                edge += 1
            nodes.append(total)
        return nodes[-1]


class ResidualBlock(nn.Module):
    """Half the size, twice the channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = relu_conv_bn(channels, 2 * channels, 3, 2)
        self.second = relu_conv_bn(2 * channels, 2 * channels, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2), convolution(channels, 2 * channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block of NAS-Bench-201's skeleton."""
        return self.shortcut(x) + self.second(self.first(x))


class NasBench201Network(nn.Module):
    """The search network of NAS-Bench-201."""

    def __init__(self, channels: int, num_classes: int, cells: int):
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

    def forward(self, images: Tensor, runs: Mapping[str, Sequence[Edge]]) -> Tensor:
        """``[B, Y]``; ``runs["cell"]`` is what the edges of the cell run."""
        x = self.stem(images)
        stages: Any = self.stages
        for stage, cells in enumerate(stages):
            if stage:
                x = self.residuals[stage - 1](x)
            for cell in cells:
                x = cell(x, runs["cell"])
        return self.classifier(self.last(x).mean(dim=(2, 3)))
