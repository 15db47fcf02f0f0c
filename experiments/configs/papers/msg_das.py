"""MSG-DAS's tables and figure: ``--config=msg_das:PART[:proxy]``.

No full variant was run here: for a GPU. Proxies in the NAS-Bench-201 space take a part
of CIFAR-10, and runs of a few minutes each on two cores (`common.looked_up`); those on
scikit-learn's digits likewise (`common.on_digits`).
"""

from functools import partial

from experiments.configs.papers import common
from experiments.configs.papers.common import Rows, Study

_FULL = "msg_das_darts_cifar10"
_PROXY = "msg_das_nasbench201_cifar10"
_SINGLE = "method.k=1"
_UNGUIDED = "method.guidance=constant(0)"
_NO_DROPS = "method.drop_rate=constant(0)"


def _batches(data: str, *, part: int) -> Rows:
    """A row for each batch, of which a part is taken."""
    return {
        "gdas": ("GDAS", f"gdas_darts_{data}"),
        **{
            f"batch{size}": (
                f"MSG-DAS, batch {size // part}",
                f"msg_das_darts_{data}",
                f"search.batch_size={size // part}",
            )
            for size in (64, 96, 128, 160)
        },
    }


def _transfer(data: str) -> Rows:
    return {
        "gdas": ("GDAS", f"gdas_darts_{data}"),
        "msg_das": ("MSG-DAS", f"msg_das_darts_{data}"),
    }


_COMPONENTS = {
    "none": ("none of them", _SINGLE, _UNGUIDED, _NO_DROPS),
    "identity": ("identity", _SINGLE, _UNGUIDED),
    "identity_subgraphs": ("identity, sub-graphs", _UNGUIDED),
    "identity_guidance": ("identity, guidance", _SINGLE),
    "all": ("all three",),
    "identity_one_graph": (
        "identity, sub-graphs as one graph",
        _UNGUIDED,
        "method.aggregate=True",
    ),
}
_GUIDANCES = {
    **{
        f"lambda{end}".replace(".", "_"): (
            f"lambda {end}",
            f"method.guidance=linear(0, {end})",
        )
        for end in ("0", "0.01", "0.1", "1")
    },
    "in_place": (
        "in-place distillation",
        "method.distillation=in_place",
        "method.guidance=constant(1)",
    ),
}
_REPLACED = ("method.k=2", _UNGUIDED, "method.replacement=True")
_SUBGRAPHS = {
    **{f"k{k}": (f"K = {k}", f"method.k={k}", _UNGUIDED) for k in (1, 2, 3, 4)},
    "k2_guided": ("K = 2, guided", "method.k=2"),
    "k2_replaced": ("K = 2, with replacement", *_REPLACED),
    "k2_aggregated": (
        "K = 2, with replacement, as one graph",
        *_REPLACED,
        "method.aggregate=True",
    ),
}
_BUT_K3 = {name: case for name, case in _SUBGRAPHS.items() if name != "k3"}


STUDIES = {
    "table1": Study(
        "cifar10",
        "MSG-DAS, Table 1: CIFAR-10",
        """
Test error by batch size of the search: search in the DARTS space on CIFAR-10 (240
epochs, K = 2), then 600 epochs of training on all its images; 0.5 GPU-days on a GTX
1080 Ti. Batches 64 and 96 are in the paper's text.

The proxy has the same rows on scikit-learn's digits, search and training, its batches a
quarter of the paper's: 15 runs.
""",
        {
            "gdas": "2.93 % error (3.4 M)",
            "batch64": "2.81 %",
            "batch96": "2.61 %",
            "batch128": "2.57 ± 0.05 % (3.58 ± 0.09 M)",
            "batch160": "2.40 % (3.6 M)",
        },
        common.trained(_batches("cifar10", part=1), recipe="msg_das"),
        common.on_digits(_batches("digits", part=4)),
        needs="",
    ),
    "table2": Study(
        "imagenet",
        "MSG-DAS, Table 2: ImageNet",
        """
The cells found on CIFAR-10, trained on ImageNet (14 cells of 48 channels, 250 epochs of
batch 256, learning rate 0.1 times 0.97 an epoch): top-1 and top-5 error, weights,
multiply-accumulates. The full variant needs ``imagenet2012`` and GPUs.

The proxy has the transfer alone: cells found on scikit-learn's digits, trained on 2,560
images of CIFAR-10: 6 runs of a few minutes each on two cores.
""",
        {
            "gdas": "26.0 / 8.5 % error (5.3 M, 530 M)",
            "msg_das": "24.8 / 8.0 % (5.4 M, 577 M)",
        },
        common.trained(
            _transfer("cifar10"), recipe="msg_das", dataset="imagenet", seeds=(0,)
        ),
        common.transferred(_transfer("digits")),
        needs="TFDS_DATA_DIR=DIR",
    ),
    "table3": Study(
        "components",
        "MSG-DAS, Table 3: components",
        """
Its three components, on and off: DropBlock-Identity ("pseudo identity"), two sub-graphs
instead of one, guidance by the super-net. The marks of the rows between none and all
are lost in the paper's text; that they are, in this order, identity alone, identity and
sub-graphs (the figure of Table 4 without guidance), identity and guidance, is read off
the section that describes them. Beside them the two sub-graphs aggregated into one,
with which section 4.3 comes near to PC-DARTS; it has no figure of its own.

The proxy has the same rows on a part of CIFAR-10: 18 runs.
""",
        {
            "none": "2.93 % error (3.4 M)",
            "identity": "2.91 ± 0.05 % (3.62 ± 0.2 M)",
            "identity_subgraphs": "2.76 ± 0.04 % (2.53 ± 0.03 M)",
            "identity_guidance": "2.77 ± 0.04 % (3.64 ± 0.18 M)",
            "all": "2.57 ± 0.05 % (3.58 ± 0.09 M)",
        },
        common.trained(common.vary(_FULL, _COMPONENTS), recipe="msg_das"),
        common.looked_up(common.vary(_PROXY, _COMPONENTS)),
    ),
    "table4": Study(
        "guidance",
        "MSG-DAS, Table 4: guidance",
        """
Weight of the super-net's guidance: lambda rises linearly from 0 to 0, 0.01, 0.1 or 1.
Beside them the in-place distillation that guidance is derived from (section 3.3), whose
teacher is trained too; the paper gives no figure for it.

The proxy has the same rows on a part of CIFAR-10: 15 runs.
""",
        {
            "lambda0": "2.76 ± 0.04 % error (2.53 ± 0.03 M)",
            "lambda0_01": "2.57 ± 0.05 % (3.58 ± 0.09 M)",
            "lambda0_1": "2.60 ± 0.0 % (3.84 ± 0.24 M)",
            "lambda1": "2.85 ± 0.11 % (3.94 ± 0.16 M)",
        },
        common.trained(common.vary(_FULL, _GUIDANCES), recipe="msg_das"),
        common.looked_up(common.vary(_PROXY, _GUIDANCES)),
    ),
    "fig3": Study(
        "subgraphs",
        "MSG-DAS, Fig. 3: sub-graphs",
        """
Number of sub-graphs, and what it costs: K = 1 to 4 without guidance, and K = 2 with it
("mutual learning"), all at batch 64. Beside them what section 2 compares the sampler
with, at K = 2 without guidance: draws with replacement (SNAS), and these aggregated
into one graph (DARTS-EGS); the paper gives no figures for either.

The proxy has the same rows but K = 3 on a part of CIFAR-10: 18 runs.
""",
        {"k4": "2.78 % error", "k2_guided": "2.81 %, in half the time of K = 4"},
        common.trained(
            common.vary(_FULL, _SUBGRAPHS, "search.batch_size=64"), recipe="msg_das"
        ),
        common.looked_up(common.vary(_PROXY, _BUT_K3)),
    ),
}

entries = partial(common.entries, "msg_das", STUDIES)
