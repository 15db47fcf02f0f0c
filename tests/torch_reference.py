"""The benchmark's search networks in PyTorch, as an oracle: on one thread."""

import pytest

torch = pytest.importorskip("torch")

from experiments.benchmark.torch_search import *  # noqa: E402, F403

torch.set_num_threads(1)
