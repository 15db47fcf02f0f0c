"""The cell: a DAG whose edges run a mixture of operations, or one operation each.

Both runners loop over stacked weights (``lax.scan``) instead of unrolling Python,
so a cell compiles as one body however many edges it has, and both recompute an
operation in the backward pass instead of keeping its insides: what is kept of an
edge is its input, which is a state of the cell anyway.
"""

from nasjax.engine.scan.cell import apply_cell as apply_cell
from nasjax.engine.scan.cell import cell_template as cell_template
from nasjax.engine.scan.cell import run_cell as run_cell
from nasjax.engine.scan.edges import EdgeGroup as EdgeGroup
from nasjax.engine.scan.edges import edge_groups as edge_groups
from nasjax.engine.scan.path import ForwardResult as ForwardResult
from nasjax.engine.scan.path import Saved as Saved
from nasjax.engine.scan.recompute import recomputed as recomputed
from nasjax.engine.scan.recompute import recomputed_switch as recomputed_switch
from nasjax.engine.scan.recompute import recomputed_to_norm as recomputed_to_norm
from nasjax.engine.scan.recompute import run_after as run_after
from nasjax.engine.scan.recompute import zero_cotangent as zero_cotangent
