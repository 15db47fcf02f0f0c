"""Search methods: one short file each, compositions of the library's parts."""

from nasjax.methods.base import Method as Method
from nasjax.methods.base import Terms as Terms
from nasjax.methods.base import add_arch_loss as add_arch_loss
from nasjax.methods.base import add_weight_loss as add_weight_loss
from nasjax.methods.darts import darts as darts
from nasjax.methods.stc_nas import stc_nas as stc_nas

#: The built-in methods by name, for launchers.
METHODS = {"darts": darts, "stc_nas": stc_nas}
