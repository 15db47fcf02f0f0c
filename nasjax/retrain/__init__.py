"""Training of discrete networks: from a genotype to a tested network.

`Recipe` has the numbers, `make_step` and `make_measure` are pure functions of a batch,
a `Feed` brings the batches from the device or from a stream, `prepare` and `run` are
the host side, in the loop that searches use too.
"""

from nasjax.retrain.feeds import Feed as Feed
from nasjax.retrain.recipe import Recipe as Recipe
from nasjax.retrain.resident import resident as resident
from nasjax.retrain.step import Net as Net
from nasjax.retrain.step import TrainState as TrainState
from nasjax.retrain.step import make_measure as make_measure
from nasjax.retrain.step import make_step as make_step
from nasjax.retrain.streamed import Batches as Batches
from nasjax.retrain.streamed import streamed as streamed
from nasjax.retrain.training import Result as Result
from nasjax.retrain.training import Training as Training
from nasjax.retrain.training import prepare as prepare
from nasjax.retrain.training import run as run
