"""The cell: a DAG whose edges run a mixture of operations, or one operation each.

Both runners loop over stacked weights (``lax.scan``) instead of unrolling Python,
so a cell compiles as one body however many edges it has, and both recompute an
operation in the backward pass instead of keeping its insides: what is kept of an
edge is its input, which is a state of the cell anyway.
"""

from nasjax.cell.architecture import Drop as Drop
from nasjax.cell.architecture import Mixture as Mixture
from nasjax.cell.architecture import Path as Path
from nasjax.cell.architecture import for_cell as for_cell
from nasjax.cell.architecture import to_path as to_path
from nasjax.cell.architecture import without_drop as without_drop
from nasjax.cell.cell import apply_cell as apply_cell
from nasjax.cell.cell import cell_template as cell_template
from nasjax.cell.cell import run_cell as run_cell
from nasjax.cell.edges import EdgeGroup as EdgeGroup
from nasjax.cell.edges import edge_groups as edge_groups
from nasjax.cell.path import Known as Known
from nasjax.cell.path import Left as Left
from nasjax.cell.recompute import no_gradient as no_gradient
from nasjax.cell.recompute import once_there as once_there
from nasjax.cell.recompute import recomputed as recomputed
from nasjax.cell.recompute import recomputed_switch as recomputed_switch
from nasjax.cell.recompute import recomputed_to_norm as recomputed_to_norm
