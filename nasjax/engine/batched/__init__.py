"""The engine of accelerators: all edges that leave a state together.

Read `nasjax.engine.batched.cell` first.
"""

from nasjax.engine.batched.cell import run_cell as run_cell
from nasjax.engine.batched.kernels import prepare as prepare
from nasjax.engine.batched.networks import network as network
from nasjax.engine.batched.norm import norms as norms
