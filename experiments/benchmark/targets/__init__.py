"""Accelerators that a program is compiled for on a machine that has none."""

from pathlib import Path
from typing import Any, NamedTuple


class Rates(NamedTuple):
    """What a model of a step's time takes of a device.

    Attributes:
      bytes_per_second: of its memory, nine tenths of the sheet's.
      flops_per_second: by dtype; float32 without tensor cores.
      seconds_per_launch: of one kernel.
    """

    bytes_per_second: float
    flops_per_second: dict[str, float]
    seconds_per_launch: float = 2e-6


#: Of a GPU; a TPU launches nothing by itself.
RATES = {
    "h200": Rates(4.3e12, {"float32": 67e12, "bfloat16": 790e12}),
    "a100": Rates(1.8e12, {"float32": 19.5e12, "bfloat16": 312e12}),
}
TARGETS = (*RATES, "v5e")
#: What an eager framework's launch takes of the host.
EAGER_SECONDS_PER_LAUNCH = 5e-6
#: Of setup.cfg.
EXTRA = {"h200": "compile-gpu", "a100": "compile-gpu", "v5e": "compile-tpu"}
#: What the extra brings, by the name of its module.
MODULE = {"compile-gpu": "jax_plugins.xla_cuda12", "compile-tpu": "libtpu"}


def device(target: str) -> Any:
    """A device of a target, to compile for; there need be none.

    Args:
      target: one of `TARGETS`.
    """
    from jax.experimental import topologies

    if target == "v5e":
        settings: dict[str, Any] = {"chips_per_host_bounds": [1, 1, 1]}
        platform, name = "tpu", "v5e:1x1"
    else:
        description = Path(__file__).parent / f"{target}.txtpb"
        platform, name = "cuda", ""
        settings = {"topology": "1x1x1", "target_config": description.read_text()}
    topology = topologies.get_topology_desc(
        platform=platform, topology_name=name, **settings
    )
    return topology.devices[0]
