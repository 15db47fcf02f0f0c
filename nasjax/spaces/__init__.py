"""Search spaces as values: edges, operations, skeleton, derivation.

Nothing in the library knows a global list of primitives; a space of your own is
another :class:`SearchSpace`.
"""

from nasjax.space import SearchSpace as SearchSpace
from nasjax.spaces.darts import darts as darts
from nasjax.spaces.nasbench201 import nasbench201 as nasbench201

#: The built-in spaces by name, for launchers.
SPACES = {"darts": darts, "nasbench201": nasbench201}
