"""Search methods: compositions of relaxation, losses, projection and memory."""

from collections.abc import Callable

from nasjax.methods.adding import add_arch_loss as add_arch_loss
from nasjax.methods.adding import add_weight_loss as add_weight_loss
from nasjax.methods.base import Candidates as Candidates
from nasjax.methods.base import Method as Method
from nasjax.methods.base import Terms as Terms
from nasjax.methods.combinations import gumbel_js, stc_nas_sd
from nasjax.methods.darts import darts
from nasjax.methods.gdas import gdas
from nasjax.methods.msg_das import msg_das
from nasjax.methods.pc_darts import pc_darts
from nasjax.methods.random_sampling import random_sampling
from nasjax.methods.sd_darts import sd_darts
from nasjax.methods.snas import snas
from nasjax.methods.stc_nas import stc_nas

#: Name -> function that makes the method from keyword arguments.
METHODS: dict[str, Callable[..., Method]] = {
    "darts": darts,
    "gdas": gdas,
    "gumbel_js": gumbel_js,
    "msg_das": msg_das,
    "pc_darts": pc_darts,
    "random": random_sampling,
    "sd_darts": sd_darts,
    "snas": snas,
    "stc_nas": stc_nas,
    "stc_nas_sd": stc_nas_sd,
}
