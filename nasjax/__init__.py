"""nasjax: differentiable neural architecture search in JAX.

Pure functions for research code; `experiments/` has the launches. The rooms, in the
order data flows: `spaces` (what may be searched) · `supernet` (the weight-sharing
network) · `relaxations` and `losses` · `methods` (one short file each) · `bilevel`
(the step all methods share) · `search` (the host loop) · `genotype` (what it ends
with), `genotypes` (published ones) · `tabular` (what NAS-Bench-201 says of it) ·
`network` (what it stands for, to be trained) · `interop` (other programs' weights) ·
`analysis` (what a search did to alpha) · `report`.
"""

from nasjax import analysis as analysis
from nasjax import architecture as architecture
from nasjax import bilevel as bilevel
from nasjax import genotypes as genotypes
from nasjax import interop as interop
from nasjax import layers as layers
from nasjax import losses as losses
from nasjax import methods as methods
from nasjax import network as network
from nasjax import ops as ops
from nasjax import relaxations as relaxations
from nasjax import schedules as schedules
from nasjax import spaces as spaces
from nasjax import supernet as supernet
from nasjax import tabular as tabular
from nasjax.base import InputError as InputError
from nasjax.genotype import Genotype as Genotype
from nasjax.genotype import derive as derive

__version__ = "0.1.0"
