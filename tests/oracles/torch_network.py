"""The discrete networks in PyTorch, with the names of the DARTS checkpoints.

Written from the papers' descriptions and the names of the published files: the
benchmark's other side and an oracle of the tests, so nothing here knows how nasjax
computes. A genotype is anything with DARTS's fields. Tensors are ``[B, C, H, W]``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Of tests; the benchmark's processes take all cores (`torch_side`).
torch.set_num_threads(1)


def convolution(inputs: int, outputs: int, size: Any, **settings: Any) -> nn.Module:
    """A convolution without a bias."""
    return nn.Conv2d(inputs, outputs, size, bias=False, **settings)


class Op(nn.Module):
    """A chain under the name ``op``, as the published modules have it."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """The chain."""
        return self.op(x)


def relu_conv_bn(
    inputs: int, outputs: int, size: int = 1, stride: int = 1
) -> nn.Module:
    """ReLU, convolution, normalisation."""
    conv = convolution(inputs, outputs, size, stride=stride, padding=size // 2)
    return Op(nn.ReLU(), conv, nn.BatchNorm2d(outputs))


class FactorizedReduce(nn.Module):
    """The identity of stride 2: two 1×1 convolutions, of even and of odd pixels."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_1 = convolution(inputs, outputs // 2, 1, stride=2)
        self.conv_2 = convolution(inputs, outputs // 2, 1, stride=2)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Half the size."""
        x = self.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))


class Zero(nn.Module):
    """No connection: zeros of the output's size."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H/s, W/s]``."""
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


def separable(channels: int, size: int, stride: int, dilation: int) -> list[nn.Module]:
    """ReLU, depthwise, pointwise, normalisation."""
    depthwise = convolution(
        channels,
        channels,
        size,
        stride=stride,
        padding=dilation * (size // 2),
        dilation=dilation,
        groups=channels,
    )
    pointwise = convolution(channels, channels, 1)
    return [nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(channels)]


def sep_conv(channels: int, size: int, stride: int) -> nn.Module:
    """Twice the separable chain, undilated."""
    first = separable(channels, size, stride, 1)
    return Op(*first, *separable(channels, size, 1, 1))


def dil_conv(channels: int, size: int, stride: int) -> nn.Module:
    """The separable chain at dilation 2."""
    return Op(*separable(channels, size, stride, 2))


def conv_7x1_1x7(channels: int, stride: int) -> nn.Module:
    """The factorised convolution of NASNet's space."""
    return nn.Sequential(
        nn.ReLU(),
        convolution(channels, channels, (1, 7), stride=(1, stride), padding=(0, 3)),
        convolution(channels, channels, (7, 1), stride=(stride, 1), padding=(3, 0)),
        nn.BatchNorm2d(channels),
    )


def skip_connect(channels: int, stride: int) -> nn.Module:
    """Identity."""
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)


#: (channels, stride) -> module.
OPS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda c, s: Zero(s),
    "max_pool_3x3": lambda c, s: nn.MaxPool2d(3, stride=s, padding=1),
    "avg_pool_3x3": lambda c, s: nn.AvgPool2d(
        3, stride=s, padding=1, count_include_pad=False
    ),
    "skip_connect": skip_connect,
    "sep_conv_3x3": lambda c, s: sep_conv(c, 3, s),
    "sep_conv_5x5": lambda c, s: sep_conv(c, 5, s),
    "sep_conv_7x7": lambda c, s: sep_conv(c, 7, s),
    "dil_conv_3x3": lambda c, s: dil_conv(c, 3, s),
    "dil_conv_5x5": lambda c, s: dil_conv(c, 5, s),
    "conv_7x1_1x7": conv_7x1_1x7,
    "nor_conv_1x1": lambda c, s: relu_conv_bn(c, c, 1, s),
    "nor_conv_3x3": lambda c, s: relu_conv_bn(c, c, 3, s),
}


class Cell(nn.Module):
    """A cell of the DARTS family; ``masks[edge]`` multiplies the edge's output."""

    def __init__(
        self,
        genotype: Any,
        before: int,
        previous: int,
        channels: int,
        reduction: bool,
        halve: bool,
    ):
        super().__init__()
        self.preprocess0 = (
            FactorizedReduce(before, channels)
            if halve
            else relu_conv_bn(before, channels)
        )
        self.preprocess1 = relu_conv_bn(previous, channels)
        self.edges = genotype.reduce if reduction else genotype.normal
        self.concat = genotype.reduce_concat if reduction else genotype.normal_concat
        self._ops = nn.ModuleList(
            OPS[name](channels, 2 if reduction and source < 2 else 1)
            for name, source in self.edges
        )

    def forward(
        self, s0: Tensor, s1: Tensor, masks: Sequence[Tensor] | None = None
    ) -> Tensor:
        """The concatenated nodes."""
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for node in range(len(self.edges) // 2):
            state: Any = 0.0
            for edge in (2 * node, 2 * node + 1):
                op = self._ops[edge]
                y = op(states[self.edges[edge][1]])
                if masks is not None and not isinstance(op, nn.Identity):
                    y = y * masks[edge].view(-1, 1, 1, 1)
                state = state + y
            states.append(state)
        return torch.cat([states[i] for i in self.concat], dim=1)


class AuxiliaryHead(nn.Module):
    """Ten classes from the features after two thirds of the cells."""

    def __init__(self, channels: int, num_classes: int, *, imagenet: bool):
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=2 if imagenet else 3, count_include_pad=False),
            convolution(channels, 128, 1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            convolution(128, 768, 2),
            nn.Identity() if imagenet else nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, Y]``."""
        return self.classifier(self.features(x).flatten(1))


class DartsNetwork(nn.Module):
    """`forward` gives the logits and, where there is a head for them, the auxiliary."""

    def __init__(
        self,
        genotype: Any,
        *,
        dataset: str,
        channels: int,
        num_cells: int,
        num_classes: int,
        auxiliary: bool = False,
    ):
        super().__init__()
        imagenet = dataset == "imagenet"
        if imagenet:
            self.stem0 = nn.Sequential(
                convolution(3, channels // 2, 3, stride=2, padding=1),
                nn.BatchNorm2d(channels // 2),
                nn.ReLU(),
                convolution(channels // 2, channels, 3, stride=2, padding=1),
                nn.BatchNorm2d(channels),
            )
            self.stem1 = nn.Sequential(
                nn.ReLU(),
                convolution(channels, channels, 3, stride=2, padding=1),
                nn.BatchNorm2d(channels),
            )
            before = previous = channels
        else:
            self.stem = nn.Sequential(
                convolution(3, 3 * channels, 3, padding=1),
                nn.BatchNorm2d(3 * channels),
            )
            before = previous = 3 * channels
        self.cells = nn.ModuleList()
        halve = imagenet
        self.auxiliary_after = 2 * num_cells // 3
        for index in range(num_cells):
            reduction = index in (num_cells // 3, 2 * num_cells // 3)
            channels *= 2 if reduction else 1
            cell = Cell(genotype, before, previous, channels, reduction, halve)
            self.cells.append(cell)
            before, previous = previous, len(cell.concat) * channels
            halve = reduction
            if auxiliary and index == self.auxiliary_after:
                self.auxiliary_head = AuxiliaryHead(
                    previous, num_classes, imagenet=imagenet
                )
        self.classifier = nn.Linear(previous, num_classes)

    def forward(
        self, images: Tensor, masks: Sequence[Sequence[Tensor]] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """``[B, Y]`` and the auxiliary ``[B, Y]``; ``masks[cell][edge]`` drop paths."""
        if hasattr(self, "stem"):
            s0 = s1 = self.stem(images)
        else:
            s0 = self.stem0(images)
            s1 = self.stem1(s0)
        auxiliary = None
        for index, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1, None if masks is None else masks[index])
            if index == self.auxiliary_after and hasattr(self, "auxiliary_head"):
                auxiliary = self.auxiliary_head(s1)
        return self.classifier(s1.mean(dim=(2, 3))), auxiliary


class ResidualBlock(nn.Module):
    """Half the size, twice the channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_a = relu_conv_bn(channels, 2 * channels, 3, 2)
        self.conv_b = relu_conv_bn(2 * channels, 2 * channels, 3)
        self.downsample = nn.Sequential(
            nn.AvgPool2d(2, stride=2), convolution(channels, 2 * channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block of NAS-Bench-201's skeleton."""
        return self.downsample(x) + self.conv_b(self.conv_a(x))


class NasBench201Cell(nn.Module):
    """Four nodes, each the sum of the edges from all before."""

    def __init__(self, operations: Sequence[str], channels: int):
        super().__init__()
        self.layers = nn.ModuleList(OPS[name](channels, 1) for name in operations)

    def forward(self, x: Tensor) -> Tensor:
        """The last node."""
        nodes, edge = [x], 0
        while edge < len(self.layers):
            total: Any = 0.0
            for state in nodes:
                total = total + self.layers[edge](state)
                edge += 1
            nodes.append(total)
        return nodes[-1]


class NasBench201Network(nn.Module):
    """Names as in the benchmark's own network."""

    def __init__(
        self,
        operations: Sequence[str],
        *,
        channels: int,
        num_cells: int,
        num_classes: int,
    ):
        super().__init__()
        self.stem = nn.Sequential(
            convolution(3, channels, 3, padding=1), nn.BatchNorm2d(channels)
        )
        self.cells = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.cells.append(ResidualBlock(channels))
                channels *= 2
            for _ in range(num_cells):
                self.cells.append(NasBench201Cell(operations, channels))
        self.lastact = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """``[B, Y]``; there is no auxiliary head."""
        x = self.stem(images)
        for cell in self.cells:
            x = cell(x)
        return self.classifier(self.lastact(x).mean(dim=(2, 3))), None
