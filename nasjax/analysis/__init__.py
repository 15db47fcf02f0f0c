"""What a search did to its architecture parameters, each measure usable alone.

`probes` takes them in the course of a search.
"""

from nasjax.analysis import probes as probes
from nasjax.analysis.agreement import Agreement as Agreement
from nasjax.analysis.agreement import teacher_agreement as teacher_agreement
from nasjax.analysis.alpha import edge_entropy as edge_entropy
from nasjax.analysis.alpha import edge_margins as edge_margins
from nasjax.analysis.alpha import skip_connects as skip_connects
from nasjax.analysis.collapse import collapse_reasons as collapse_reasons
from nasjax.analysis.collapse import eigenvalue_rise as eigenvalue_rise
from nasjax.analysis.curvature import dominant_eigenvalue as dominant_eigenvalue
from nasjax.analysis.curvature import dominant_eigenvalue_of as dominant_eigenvalue_of
from nasjax.analysis.curvature import hessian_vector_product as hessian_vector_product
from nasjax.analysis.discretization import Discretization as Discretization
from nasjax.analysis.discretization import derived_architecture as derived_architecture
from nasjax.analysis.discretization import discretization_gap as discretization_gap
from nasjax.analysis.discretization import kept_edges as kept_edges
from nasjax.analysis.ranking import kendall_tau as kendall_tau
from nasjax.analysis.sharpness import ball_sharpness as ball_sharpness
from nasjax.analysis.sharpness import loss_drop as loss_drop
from nasjax.analysis.statistics import Summary as Summary
from nasjax.analysis.statistics import difference as difference
from nasjax.analysis.statistics import summarise as summarise
