"""nasjax: differentiable neural architecture search in JAX.

Pure functions for research code; `experiments/` has the launches. The rooms, in the
order data flows:

====================  ==============================================================
`spaces`              what may be searched
`supernet`            the weight-sharing network; `linen` has it as a Flax module
`relaxations`         alpha to mixtures and sampled paths
`losses`, `teachers`  what is added to the cross-entropy
`methods`             one short file per method
`bilevel`             the step that all methods share
`search`              `fit`, or its parts: the host loop
`genotype`            what a search ends with; `genotypes` has published ones
`tabular`             what NAS-Bench-201 says of it
`network`, `retrain`  what it stands for, and its training
`interop`             other programs' weights
`analysis`, `report`  what a search did to alpha
====================  ==============================================================

Each is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from nasjax.base import InputError as InputError
from nasjax.base import RunError as RunError

if TYPE_CHECKING:
    from nasjax import analysis as analysis
    from nasjax import architecture as architecture
    from nasjax import bilevel as bilevel
    from nasjax import data as data
    from nasjax import dropblock as dropblock
    from nasjax import engine as engine
    from nasjax import genotype as genotype
    from nasjax import genotypes as genotypes
    from nasjax import interop as interop
    from nasjax import layers as layers
    from nasjax import linen as linen
    from nasjax import losses as losses
    from nasjax import methods as methods
    from nasjax import network as network
    from nasjax import objective as objective
    from nasjax import operations as operations
    from nasjax import optimizers as optimizers
    from nasjax import relaxations as relaxations
    from nasjax import report as report
    from nasjax import retrain as retrain
    from nasjax import runtime as runtime
    from nasjax import schedules as schedules
    from nasjax import search as search
    from nasjax import spaces as spaces
    from nasjax import supernet as supernet
    from nasjax import tabular as tabular
    from nasjax import teachers as teachers
    from nasjax.genotype import Genotype as Genotype
    from nasjax.spaces import derive as derive

__version__ = "0.1.0"

_MODULES = (
    *("analysis", "architecture", "bilevel", "data", "dropblock", "engine", "genotype"),
    *("genotypes", "interop", "layers", "linen", "losses", "methods", "network"),
    *("objective", "operations", "optimizers", "relaxations", "report", "retrain"),
    *("runtime", "schedules", "search", "spaces", "supernet", "tabular", "teachers"),
)
_FUNCTIONS = {"Genotype": "genotype", "derive": "spaces"}

__all__ = ["InputError", "RunError", *_FUNCTIONS, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"nasjax.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"nasjax.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module 'nasjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
