"""A search on the host, in one call or in its parts.

`fit` does all. `prepare` compiles and measures a search, `run` goes on from wherever
its folder stands, `seeds` makes several searches one program.
"""

from nasjax.bilevel import Optimizers as Optimizers
from nasjax.runtime.loop import NotFiniteError as NotFiniteError
from nasjax.runtime.loop import fingerprint as fingerprint
from nasjax.search.program import Search as Search
from nasjax.search.program import paper_optimizers as paper_optimizers
from nasjax.search.program import plan as plan
from nasjax.search.program import prepare as prepare
from nasjax.search.running import Analysis as Analysis
from nasjax.search.running import Running as Running
from nasjax.search.running import fit as fit
from nasjax.search.running import run as run
