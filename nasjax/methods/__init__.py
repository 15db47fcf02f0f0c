"""Search methods: compositions of relaxation, losses, projection and memory."""

from collections.abc import Callable

from nasjax.methods.adding import add_arch_loss as add_arch_loss
from nasjax.methods.adding import add_weight_loss as add_weight_loss
from nasjax.methods.base import Candidates as Candidates
from nasjax.methods.base import Method as Method
from nasjax.methods.base import Terms as Terms
from nasjax.methods.baselines.a2m import a2m
from nasjax.methods.baselines.beta_darts import beta_darts
from nasjax.methods.baselines.drnas import drnas
from nasjax.methods.baselines.dsnas import dsnas
from nasjax.methods.baselines.fair_darts import fair_darts
from nasjax.methods.baselines.gdas import gdas
from nasjax.methods.baselines.idarts import idarts
from nasjax.methods.baselines.nasp import nasp
from nasjax.methods.baselines.pc_darts import pc_darts
from nasjax.methods.baselines.random_sampling import random_sampling
from nasjax.methods.baselines.sdarts import sdarts_adv, sdarts_rs
from nasjax.methods.baselines.snas import snas
from nasjax.methods.combinations import gumbel_js, stc_nas_sd
from nasjax.methods.darts import darts
from nasjax.methods.msg_das import msg_das
from nasjax.methods.sd_darts import sd_darts
from nasjax.methods.stc_nas import stc_nas

#: Name -> function that makes the method from keyword arguments.
METHODS: dict[str, Callable[..., Method]] = {
    "a2m": a2m,
    "beta_darts": beta_darts,
    "darts": darts,
    "drnas": drnas,
    "dsnas": dsnas,
    "fair_darts": fair_darts,
    "gdas": gdas,
    "gumbel_js": gumbel_js,
    "idarts": idarts,
    "msg_das": msg_das,
    "nasp": nasp,
    "pc_darts": pc_darts,
    "random": random_sampling,
    "sd_darts": sd_darts,
    "sdarts_adv": sdarts_adv,
    "sdarts_rs": sdarts_rs,
    "snas": snas,
    "stc_nas": stc_nas,
    "stc_nas_sd": stc_nas_sd,
}
