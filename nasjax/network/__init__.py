"""Discrete networks: what a search finds, built, counted, run and trained.

Pure functions over plain trees (`init`, `apply`, `train_apply`, `cost`), for genotypes
of every space of `spaces.SPACES`, and the same as a Linen module (`Network`).
"""

from nasjax.network.functions import Cost as Cost
from nasjax.network.functions import TrainOutput as TrainOutput
from nasjax.network.functions import apply as apply
from nasjax.network.functions import cost as cost
from nasjax.network.functions import init as init
from nasjax.network.functions import train_apply as train_apply
from nasjax.network.module import Network as Network
from nasjax.network.settings import DATASETS as DATASETS
