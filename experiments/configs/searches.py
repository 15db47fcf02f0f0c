"""Every search: ``METHOD_SPACE_DATA``, of one table of methods' settings.

A name stands for `search` of its three parts, so a method, a space or a data set that
the library has is in a name without an entry here. An entry of `SETTINGS` says what a
paper, or the benchmark, has otherwise than DARTS.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.entry import Entry
from experiments.configs.references import find
from nasjax.data.sources import SOURCES
from nasjax.methods import METHODS
from nasjax.spaces import SPACES


class Settings(NamedTuple):
    """How a method is searched.

    Attributes:
      label: what people call it; empty for its name.
      method: its name in `METHODS`; empty for the same.
      arguments: of the method, where they are not its function's defaults.
      fields: of the configuration, where they are not DARTS's.
      benchmark_epochs: of a baseline of NAS-Bench-201, searched there as the benchmark
        searches its own (`base.BENCHMARK`); 0 for a method searched as elsewhere.
      there: fields by space, ``nasbench201``, or by space and data, ``darts_digits``.
    """

    label: str = ""
    method: str = ""
    arguments: Mapping[str, Any] = {}
    fields: Mapping[str, Any] = {}
    benchmark_epochs: int = 0
    there: Mapping[str, Mapping[str, Any]] = {}


#: STC-NAS, section 4.2; it names 50 epochs and nothing else in NAS-Bench-201 (batch 256
#: and 12 epochs before alpha moves are assumptions there).
_STC_NAS = {"search.arch_weight_decay": 0.0, "search.batch_size": 256}
_MSG_DAS = {
    "search.arch_weight_decay": 1e-4,
    "search.batch_size": 128,
    "search.epochs": 240,
}
#: Epochs of the baselines in NAS-Bench-201. Those of DARTS, GDAS and random search are
#: the benchmark's (Dong and Yang, arXiv 2001.00326); SD-DARTS's paper searches there as
#: DARTS does; that SNAS and PC-DARTS, which the benchmark has not, are searched so too,
#: for the epochs of their papers, is an assumption. MSG-DAS, which has no figure there,
#: and combinations keep their settings of the DARTS space (assumptions).
#: docs/reproduction.md has a table of every number.
SETTINGS: Mapping[str, Settings] = {
    "darts": Settings("DARTS, first order", benchmark_epochs=50),
    "darts2nd": Settings(
        "DARTS, second order", "darts", {"order": 2}, benchmark_epochs=50
    ),
    "sd_darts": Settings("SD-DARTS", benchmark_epochs=50),
    "msg_das": Settings("MSG-DAS", fields=_MSG_DAS),
    "stc_nas": Settings(
        "STC-NAS",
        fields=_STC_NAS,
        # Without rest, or where alpha moves slowly, skip connections win:
        # docs/stc_nas.md.
        there={
            "nasbench201": {"method.arch_start": 12},
            "darts_digits": {
                "search.epochs": 40,
                "method.arch_start": 20,
                "search.arch_learning_rate": 1e-2,
            },
        },
    ),
    "gdas": Settings(
        "GDAS",
        fields={"search.epochs": 250},
        benchmark_epochs=250,
        there={"nasbench201": {"method.unchosen_gradient": True}},
    ),
    "snas": Settings("SNAS", fields={"search.epochs": 150}, benchmark_epochs=150),
    "pc_darts": Settings(
        "PC-DARTS",
        fields={
            "search.batch_size": 256,
            "search.learning_rate": 0.1,
            "search.learning_rate_end": 0.0,
            "search.arch_learning_rate": 6e-4,
        },
        benchmark_epochs=50,
    ),
    "beta_darts": Settings(
        "Beta-DARTS",
        there={
            "nasbench201": {"search.epochs": 100, "method.strength": "linear(0, 50)"}
        },
    ),
    "fair_darts": Settings(
        "FairDARTS",
        fields={
            "search.batch_size": 128,
            "search.learning_rate": 0.005,
            "search.arch_learning_rate": 3e-3,
            "search.arch_b1": 0.9,
        },
    ),
    "dsnas": Settings(
        "DSNAS",
        fields={"search.arch_learning_rate": 1e-3, "search.arch_weight_decay": 0.0},
    ),
    "nasp": Settings("NASP"),
    "drnas": Settings("DrNAS", there={"nasbench201": {"search.epochs": 100}}),
    "sdarts_rs": Settings("SDARTS-RS", there={"nasbench201": {"search.epochs": 100}}),
    "sdarts_adv": Settings("SDARTS-ADV", there={"nasbench201": {"search.epochs": 100}}),
    "idarts": Settings(
        "iDARTS",
        benchmark_epochs=30,
        there={"nasbench201": {"search.learning_rate": 0.01}},
    ),
    "a2m": Settings("A2M", there={"nasbench201": {"method.rho": 0.01}}),
    "random": Settings("Random search with weight sharing", benchmark_epochs=250),
    "stc_nas_sd": Settings(
        "STC-NAS's sampling with SD-DARTS's teachers", fields=_STC_NAS
    ),
    "gumbel_js": Settings("Gumbel-TopK sub-graphs with the JS loss", fields=_MSG_DAS),
}
_SPACE_LABELS = {"darts": "DARTS", "nasbench201": "NAS-Bench-201"}
_DATA_LABELS = {
    "digits": "scikit-learn's digits",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet": "a fifth of ImageNet",
}


def search(
    method: str, space: str = "darts", data: str = "cifar10", *, launched: str = ""
) -> ConfigDict:
    """The configuration of a search.

    Args:
      method: a name of `SETTINGS` or of `METHODS`, or ``package.module:function``.
      space: a name of `SPACES`.
      data: a data set's name; ``imagenet`` for two shares of ImageNet.
      launched: another method, ``package.module:function``, searched with the settings
        of ``method`` and with its own function's arguments.

    Raises:
      InputError: a name that is none, or a function that cannot be launched.
    """
    own = SETTINGS.get(method, Settings())
    name = own.method or method
    arguments = own.arguments
    if launched:
        name, arguments = launched, {}
    config = base.default()
    make = find("method.name", name, METHODS)
    config.method = base.method_block(name, make, **arguments)
    fields = [own.fields]
    config = base.on_space(config, space)
    if space == "nasbench201" and own.benchmark_epochs:
        fields.append({**base.BENCHMARK, "search.epochs": own.benchmark_epochs})
    fields.append(own.there.get(space, {}))
    for each in fields:
        config = base.with_fields(config, _fitting(config, each))
    config = base.on_data(config, data)
    there = own.there.get(f"{space}_{data}", {})
    return base.with_fields(config, _fitting(config, there))


def _fitting(config: ConfigDict, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields of a method that another one, launched instead, has not."""
    block, known = "method.", config.method
    return {k: v for k, v in fields.items() if k.removeprefix(block) in known or not
            k.startswith(block)}  # fmt: skip


def entries() -> Iterator[Entry]:
    """Every search there is."""
    own = {"npz", "folder", "imagenet2012"}
    for method in dict.fromkeys([*SETTINGS, *METHODS]):
        for space in SPACES:
            for data in (*(name for name in SOURCES if name not in own), "imagenet"):
                if data != "imagenet" or space == "darts":
                    yield _entry(method, space, data)


def _entry(method: str, space: str, data: str) -> Entry:
    name = f"{method}_{space}_{data}"
    label = SETTINGS.get(method, Settings()).label or method
    title = (
        f"{label} in the {_SPACE_LABELS.get(space, space)} space on "
        f"{_DATA_LABELS.get(data, data)}."
    )
    note = NOTES.get(name) or _NOTES_OF_DATA.get(data, "Not run here.")
    flags = _MORE_FLAGS.get(data, ())
    variants = {"smoke": base.smoke}
    if name == "stc_nas_nasbench201_cifar10":
        variants["proxy"] = base.nasbench201_proxy
    full = partial(search, method, space, data)
    return Entry("search", name, title, note.strip(), full, variants, flags)


_MORE_FLAGS = {
    "imagenet": ("--config.data.data_dir=DIR", "--config.supernet.dtype=bfloat16")
}
_NOTES_OF_DATA = {
    "digits": "No paper has it: a small search to look at. The full variant was not "
    "timed.",
    "imagenet": """
Needs ``imagenet2012`` prepared (`experiments.prepare`). A tenth of the images of each
class trains the weights, as much trains alpha; both are decoded once, to 224 pixels,
and kept in device memory, where the search loop reads them: 39 GB (``data.image_size``
160: 20 GB), and as much again on the first of several devices while they are shared
out. The search is the target network's own: 14 cells, 48 channels.

STC-NAS has its paper's settings, except for what it leaves open
(`base.on_data`); not run at full scale. Its paper reports 0.625 GPU-days on a V100 and,
retrained, 24.2 % top-1 and 7.3 % top-5 error. The smoke variant takes any prepared
``imagenet2012`` of 64 images or more.
""",
}
#: What is known of a search: settings, hardware, time, figures. Test accuracies in
#: NAS-Bench-201 are on CIFAR-10 / CIFAR-100 / ImageNet16-120.
NOTES = {
    "darts_darts_cifar10": """
The paper's settings; not run here. The paper's search takes 0.4 GPU-days as other
papers cite it and its cells reach 3.00 ± 0.14 % test error when retrained. The smoke
variant took 22 s with compiled programs kept from an earlier run, 51 s without, on two
cores of an Intel Xeon (2.3 GHz).
""",
    "darts_nasbench201_cifar10": """
The benchmark's settings (`base.BENCHMARK`), its code's but for the order of the two
updates and what else docs/reproduction.md lists; not run here. The benchmark reports
10,890 s on one GPU and a collapse to skip connections: 54.30 / 15.61 / 16.32 % test
accuracy.
""",
    "darts2nd_darts_cifar10": """
The paper's settings, but for clipping in the weights' own step
(``method.inner_clip``); not run here. The paper's search takes 1.0 GPU-days as other
papers cite it and its cells reach 2.76 ± 0.09 % test error when retrained. The smoke
variant took 49 s with compiled programs kept from an earlier run, 118 s without, on two
cores of an Intel Xeon (2.3 GHz).
""",
    "darts2nd_nasbench201_cifar10": """
The benchmark's settings (`base.BENCHMARK`), its code's but for the weights' own step,
which clips and is Nesterov's here (``method.inner_clip``), and what else
docs/reproduction.md lists; not run here. The benchmark reports 29,902 s on one GPU.
""",
    "sd_darts_darts_cifar10": """
The paper's settings; not run here. The paper's search takes 0.37 GPU-days on an RTX
3090; its cells reach 2.58 ± 0.11 % test error when retrained, 2.44 % at best.
""",
    "sd_darts_nasbench201_cifar10": """
The settings of DARTS there, as the paper says, with the paper's teachers; not run here.
They are taken to be the benchmark's (`base.BENCHMARK`; an assumption). The paper
reports 93.91 ± 0.08 / 71.88 ± 0.76 / 46.03 ± 0.59 % test accuracy.
""",
    "msg_das_darts_cifar10": """
The paper's settings; not run here. The paper's search takes 0.5 GPU-days on a GTX 1080
Ti; its cells reach 2.57 ± 0.05 % test error when retrained.
""",
    "msg_das_nasbench201_cifar10": """
The paper has no search in this space: the settings of its search in the DARTS space, an
assumption; not run here.
""",
    "stc_nas_darts_cifar10": """
The paper's settings (without depth consistency); not run here. The paper reports 0.059
GPU-days on a V100 and, retrained, 2.48 ± 0.03 % test error.
""",
    "stc_nas_darts_cifar100": """
The paper's settings (without depth consistency); not run here, for lack of the data.
The paper reports, retrained, 17.01 ± 0.29 % test error.
""",
    "stc_nas_darts_digits": """
The launcher's default. 61 s on two cores of an AMD EPYC with nothing compiled before,
32 s of them to the first step. Seed 0 ends at 91.3 % validation accuracy of the sampled
supernet path, six seeds at 93.3 ± 1.6 %; no paper has this search.
""",
    "stc_nas_nasbench201_cifar10": """
The paper's 50 epochs and, as it names nothing else here, the settings of its search in
the DARTS space, batch 256 among them (an assumption); not run here. The paper reports
3,600 s on one GPU and 93.41 ± 0.20 / 70.43 ± 0.21 / 45.03 ± 0.36 % test accuracy.

The proxy is sized for two cores (`base.nasbench201_proxy`): 8 min 51 s on an Intel Xeon
(2.3 GHz) for one seed, with earlier defaults of the method; not run with today's.
docs/stc_nas.md has a run of a narrow supernet over the whole data set.
""",
    "gdas_darts_cifar10": """
The paper's settings, but for the order of the two updates and tau by steps
(`nasjax.methods.gdas`); not run here. Its search takes 0.21 GPU-days as other papers
cite it and its cells reach 2.93 % test error when retrained.
``--config.method.fixed_reduction=True`` is GDAS (FRC).
""",
    "gdas_nasbench201_cifar10": """
The benchmark's settings (`base.BENCHMARK`), its code's gradient of what was not chosen
among them, but for the order of the two updates, tau by steps and what else
docs/reproduction.md lists; not run here. Other papers cite 93.61 / 70.70 / 41.71 % test
accuracy.
""",
    "snas_darts_cifar10": """
DARTS's settings for the paper's 150 epochs, alpha on the validation half
(`nasjax.methods.snas`); not run here. Its search takes 1.5 GPU-days as other papers
cite it and its cells reach 2.85 ± 0.02 % test error when retrained.
""",
    "snas_nasbench201_cifar10": """
SNAS's paper has no search here: the settings of the benchmark's own baselines
(`base.BENCHMARK`) for SNAS's 150 epochs, an assumption; not run here. Other papers cite
92.77 / 69.34 / 43.16 % test accuracy.
""",
    "pc_darts_darts_cifar10": """
The paper's settings; not run here. Its search takes 0.1 GPU-days as other papers cite
it and its cells reach 2.57 ± 0.07 % test error when retrained.
""",
    "pc_darts_nasbench201_cifar10": """
PC-DARTS's paper has no search here: the settings of the benchmark's own baselines
(`base.BENCHMARK`), not PC-DARTS's batch and learning rates, an assumption; not run
here. Other papers cite 93.41 / 67.48 / 41.31 % test accuracy.
""",
    "beta_darts_darts_cifar10": """
The published code's settings, but lambda for 50 epochs (it has none for this space; an
assumption); not run here. Its cells reach 2.53 ± 0.08 % test error when retrained, as
SD-DARTS's paper cites it.
""",
    "fair_darts_darts_cifar10": """
The published code's settings; not run here. Its cells reach 2.54 ± 0.05 % test error
when retrained, as MSG-DAS's paper cites it. ``--config.method.threshold=0.85`` derives
as published.
""",
    "nasp_darts_cifar10": """
DARTS's settings and space, not NASP's own operations; not run here. STC-NAS's paper
cites 2.83 ± 0.09 % test error when retrained.
""",
    "sdarts_rs_darts_cifar10": """
The published code's settings; not run here. Its cells reach 2.67 ± 0.03 % test error
when retrained, as SD-DARTS's paper cites it.
""",
    "sdarts_adv_darts_cifar10": """
The published code's settings; not run here. Its cells reach 2.61 ± 0.02 % test error
when retrained, as SD-DARTS's paper cites it.
""",
    "dsnas_nasbench201_cifar10": """
The method's alpha settings and else those of DARTS (an assumption); not run here.
SD-DARTS's paper cites 93.08 ± 0.13 / 31.01 ± 16.38 / 41.07 % test accuracy.
""",
    "idarts_nasbench201_cifar10": """
The benchmark's settings (`base.BENCHMARK`), 30 epochs and a learning rate of 0.01 as in
the published notebook; not run here. SD-DARTS's paper cites 93.58 ± 0.32 / 70.83 ± 0.48
/ 40.89 ± 0.68 % test accuracy.
""",
    "random_darts_cifar10": "A baseline, at DARTS's settings; not run here.",
    "random_nasbench201_cifar10": """
The benchmark's settings (`base.BENCHMARK`), but for the choice at the end: of more
candidates, on more batches; not run here.
""",
    **{
        f"{method}_{space}_cifar10": f"No paper has it: a composition, at {of}'s "
        "settings of the DARTS space; not run here."
        for method, of in (("stc_nas_sd", "STC-NAS"), ("gumbel_js", "MSG-DAS"))
        for space in ("darts", "nasbench201")
    },
}
