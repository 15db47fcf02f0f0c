"""How many kernels PyTorch launches in a bilevel step, run eagerly.

Counts the operations that reach the dispatcher, views and bookkeeping left out: on a
GPU each is one launch or more. Neither channels nor batch change them: small ones do.
"""

import statistics
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.oracles import torch_side

_FREE = (
    *("view", "reshape", "t.", "transpose", "expand", "slice", "detach", "alias"),
    *("select", "unsqueeze", "squeeze", "permute", "as_strided", "split", "empty"),
    *("new_empty", "is_same_size", "_unsafe_view", "lift_fresh", "unbind", "set_"),
)


class _Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        self.number += not str(func).removeprefix("aten.").startswith(_FREE)
        return func(*args, **(kwargs or {}))


def step(*, space: str, num_cells: int, subgraphs: int | None) -> dict[str, Any]:
    """The kernels of a step: of paths the median of five draws.

    Args:
      space: its name.
      num_cells: L or N.
      subgraphs: paths a step; None is the mixture.
    """
    net = torch_side.supernet(space, channels=4, num_cells=num_cells)
    alpha = torch_side.new_alpha(space, "cpu")
    sample = torch_side.mixture
    if subgraphs is not None:
        sample = partial(torch_side.paths, k=subgraphs)
    search = torch_side.Search(net, alpha, sample)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(2, 3, 32, 32), torch.randint(0, 10, (2,))

    found = []
    for _ in range(1 if subgraphs is None else 5):
        with _Count() as count:
            search.step(batch(), batch())
        found.append(count.number)
    return {"kernels": round(statistics.median(found))}
