"""PyTorch's side: the reference design of DARTS, run eagerly.

Each operation of each edge is a module. The step is DARTS's of first order: alpha on
the validation batch, then the weights on the train batch, with DARTS's optimizers. Of
alpha's pass only alpha's gradient is asked for, as on our side; the published code
computes that of the weights there too, and throws it away.
"""

import json
import random
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from experiments.benchmark.machine import cores
from experiments.benchmark.timing import process_peak_bytes, repeat
from tests.oracles import torch_network, torch_search

#: Order of a tensor in memory, by the field's names.
FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
#: By cell type, what each edge runs.
Runs = dict[str, Any]
Sample = Callable[[dict[str, Tensor]], list[Runs]]


# --- what the edges run ---------------------------------------------------------


def mixture(alpha: dict[str, Tensor]) -> list[Runs]:
    """Softmax weights of all operations of every edge (DARTS Eq. 2)."""
    return [{name: torch.softmax(a, dim=-1) for name, a in alpha.items()}]


def paths(alpha: dict[str, Tensor], *, k: int = 1) -> list[Runs]:
    """Of every edge one operation, drawn evenly; k draws."""

    def one() -> Runs:
        return {
            name: [
                torch_search.Chosen(choice, row[choice])
                for row in a
                for choice in (random.randrange(len(row)),)
            ]
            for name, a in alpha.items()
        }

    return [one() for _ in range(k)]


def uniform(alpha: dict[str, Tensor], choice: int) -> list[Runs]:
    """The same operation on every edge."""
    return [
        {
            name: [torch_search.Chosen(choice, row[choice]) for row in a]
            for name, a in alpha.items()
        }
    ]


# --- the bilevel step -----------------------------------------------------------


class Search:
    """A supernet, alpha, and DARTS's optimizers of either."""

    def __init__(
        self,
        net: nn.Module,
        alpha: dict[str, Tensor],
        sample: Sample,
        *,
        learning_rate: float = 0.025,
    ):
        self.net, self.alpha, self.sample = net, alpha, sample
        self.weights = list(net.parameters())
        self.weight_optimizer = torch.optim.SGD(
            self.weights, learning_rate, momentum=0.9, weight_decay=3e-4
        )
        self.arch_optimizer = torch.optim.Adam(
            list(alpha.values()), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3
        )

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, summed over the sub-graphs of a draw."""
        runs = self.sample(self.alpha)
        losses = [cross_entropy(self.net(images, one), labels) for one in runs]
        return torch.stack(losses).sum()

    def step(
        self, train: tuple[Tensor, Tensor], valid: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Alpha, then the weights; both losses."""
        arch_loss = self.loss(*valid)
        # A path in which every edge of a cell type runs "none" has no gradient there.
        gradients = torch.autograd.grad(
            arch_loss, list(self.alpha.values()), allow_unused=True
        )
        for a, gradient in zip(self.alpha.values(), gradients, strict=True):
            a.grad = gradient
        self.arch_optimizer.step()
        self.weight_optimizer.zero_grad()
        weight_loss = self.loss(*train)
        weight_loss.backward(inputs=self.weights)
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.weight_optimizer.step()
        return arch_loss.detach(), weight_loss.detach()


def supernet(space: str, *, channels: int, num_cells: int) -> nn.Module:
    """The search network of a space on CIFAR-10."""
    if space == "darts":
        return torch_search.DartsNetwork(channels, 10, num_cells)
    return torch_search.NasBench201Network(channels, 10, num_cells)


def new_alpha(space: str, device: str) -> dict[str, Tensor]:
    """Alpha at DARTS's start."""
    cells = ("normal", "reduce") if space == "darts" else ("cell",)
    shape = (14, 8) if space == "darts" else (6, 5)
    return {
        name: (1e-3 * torch.randn(shape, device=device)).requires_grad_()
        for name in cells
    }


def search_step(
    *,
    space: str,
    subgraphs: int | None,
    channels: int,
    num_cells: int,
    batch_size: int,
    dtype: str,
    memory_format: str,
    compile_torch: bool,
    num_steps: int,
) -> dict[str, Any]:
    """Time the bilevel step; ``subgraphs`` is None for the mixture."""
    device = _start()
    net = supernet(space, channels=channels, num_cells=num_cells)
    net = _placed(net, device, memory_format)
    if compile_torch:
        _compile(net, whole=subgraphs is None)

    def sample(alpha: dict[str, Tensor]) -> list[Runs]:
        return mixture(alpha) if subgraphs is None else paths(alpha, k=subgraphs)

    search = Search(net, new_alpha(space, device), sample)
    train, valid = (_batch(batch_size, device, memory_format) for _ in range(2))

    def first() -> None:
        # Of every operation, where each is compiled: else a later draw has some to do.
        names = torch_search.OPS[space] if compile_torch and subgraphs else ()
        for choice in range(len(names)):
            search.sample = partial(uniform, choice=choice)
            search.step(train, valid)
        search.sample = sample
        search.step(train, valid)

    run = partial(_in_dtype, dtype=dtype, device=device)
    step = run(lambda: search.step(train, valid))
    return _timed(step, num_steps, images=2 * batch_size, first=run(first))


# --- the step of a retraining ---------------------------------------------------


class Retraining:
    """A discrete network with auxiliary head and drop path, and DARTS's optimizer."""

    def __init__(self, net: nn.Module, *, drop_path_rate: float = 0.2):
        self.net, self.keep = net, 1.0 - drop_path_rate
        self.weights = list(net.parameters())
        self.optimizer = torch.optim.SGD(
            self.weights, 0.025, momentum=0.9, weight_decay=3e-4
        )

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step of the weights; the loss."""
        self.optimizer.zero_grad()
        logits, auxiliary = self.net(images, self._masks(images))
        loss = cross_entropy(logits, labels)
        if auxiliary is not None:
            loss = loss + 0.4 * cross_entropy(auxiliary, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.optimizer.step()
        return loss.detach()

    def _masks(self, images: Tensor) -> Any:
        if self.keep == 1.0:
            return None
        cells: Any = self.net.cells
        shape = len(cells), len(cells[0].edges), len(images)
        return torch.bernoulli(images.new_full(shape, self.keep)) / self.keep


def retrain_step(
    *,
    genotype: str,
    channels: int,
    num_cells: int,
    batch_size: int,
    dtype: str,
    memory_format: str,
    compile_torch: bool,
    num_steps: int,
) -> dict[str, Any]:
    """Time the step that trains a discrete network; ``genotype`` is JSON."""
    device = _start()
    net: nn.Module = torch_network.DartsNetwork(
        SimpleNamespace(**json.loads(genotype)),
        dataset="cifar10",
        channels=channels,
        num_cells=num_cells,
        num_classes=10,
        auxiliary=True,
    )
    net = _placed(net, device, memory_format)
    if compile_torch:
        _compile(net, whole=True)
    retraining = Retraining(net)
    batch = _batch(batch_size, device, memory_format)
    step = _in_dtype(lambda: retraining.step(*batch), dtype, device)
    return _timed(step, num_steps, images=batch_size)


# --- one primitive --------------------------------------------------------------


def depthwise(
    *,
    channels: int,
    image_size: int,
    batch_size: int,
    kernel_size: int,
    dilation: int,
    dtype: str,
    memory_format: str,
    num_steps: int,
) -> dict[str, Any]:
    """Time one depthwise convolution, forward and both gradients."""
    device = _start()
    padding = dilation * (kernel_size // 2)
    module = torch_search.convolution(
        channels,
        channels,
        kernel_size,
        padding=padding,
        dilation=dilation,
        groups=channels,
    )
    module = _placed(module, device, memory_format)
    shape = batch_size, channels, image_size, image_size
    x, cotangent = (
        torch.randn(shape, device=device).to(memory_format=FORMATS[memory_format])
        for _ in range(2)
    )
    x.requires_grad_()
    inputs = [x, *module.parameters()]

    def run() -> None:
        y = module(x)
        torch.autograd.grad(y, inputs, cotangent.to(y.dtype))

    return _timed(_in_dtype(run, dtype, device), num_steps, images=batch_size)


# --- shared ---------------------------------------------------------------------


def _start() -> str:
    torch.set_num_threads(cores())
    torch.manual_seed(0)
    random.seed(0)
    return "cuda" if torch.cuda.is_available() else "cpu"


def _placed(net: Any, device: str, memory_format: str) -> Any:
    return net.to(device, memory_format=FORMATS[memory_format])


def _compile(net: Any, *, whole: bool) -> None:
    """`torch.compile`, in place, so that parameters and names stay.

    As a ``whole`` where every step runs the same; else each operation by itself, for
    what a draw runs would be compiled anew, draw after draw.
    """
    if whole:
        net.compile()
        return
    # Operations of all kinds and sizes share their code; the default is eight.
    dynamo: Any = torch._dynamo.config
    dynamo.recompile_limit = dynamo.accumulated_recompile_limit = 1000
    for module in net.modules():
        if isinstance(module, torch_search.MixedOp):
            for operation in module.ops.values():
                operation.compile(dynamic=False)


def _batch(size: int, device: str, memory_format: str) -> tuple[Tensor, Tensor]:
    images = torch.randn(size, 3, 32, 32, device=device)
    labels = torch.randint(0, 10, (size,), device=device)
    return images.to(memory_format=FORMATS[memory_format]), labels


def _in_dtype(step: Callable[[], Any], dtype: str, device: str) -> Callable[[], Any]:
    """The step with activations of a dtype, on the device to its end."""

    def run() -> None:
        enabled = dtype != "float32"
        with torch.autocast(device, torch.bfloat16, enabled=enabled):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def _timed(
    step: Callable[[], Any],
    num_steps: int,
    *,
    images: int,
    first: Callable[[], Any] | None = None,
) -> dict[str, Any]:
    """Time the repetition of a step, after the first or what it takes for one."""
    started = time.perf_counter()
    (first or step)()
    found: dict[str, Any] = {"seconds_to_first_step": time.perf_counter() - started}
    found |= repeat(step, num_steps)
    found["images_per_second"] = images / found["step_seconds_median"]
    found["device"] = "cpu"
    if torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
        found["peak_bytes"] = torch.cuda.max_memory_allocated()
    return found | {"process_peak_bytes": process_peak_bytes()}
