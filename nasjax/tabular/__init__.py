"""Published tables of trained networks, for looking up what a search found."""

from nasjax.tabular.sources import NUM_ARCHITECTURES as NUM_ARCHITECTURES
from nasjax.tabular.sources import Column as Column
from nasjax.tabular.table import Best as Best
from nasjax.tabular.table import Lookup as Lookup
from nasjax.tabular.table import NASBench201 as NASBench201
from nasjax.tabular.table import check_arch_str as check_arch_str
from nasjax.tabular.table import format_lookups as format_lookups
from nasjax.tabular.table import from_json as from_json
from nasjax.tabular.table import headline as headline
from nasjax.tabular.table import to_json as to_json
