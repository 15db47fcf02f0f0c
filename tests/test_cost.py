"""Counts against PyTorch's own layers and published code, and their launcher."""

import functools
import subprocess
import sys

import pytest

from nasjax import genotypes, network
from nasjax.base import InputError
from tests.launching import ROOT, Ended, environment

CIFAR = {"dataset": "cifar10", "channels": 36, "num_cells": 20}
IMAGENET = {"dataset": "imagenet", "channels": 48, "num_cells": 14}
SIZES = {"cifar10": CIFAR, "imagenet": IMAGENET}


def counted_by_pytorch(net, images) -> dict[bool, tuple[int, int]]:
    """Weights, and multiply-accumulates of what the layers really put out.

    Without and with the auxiliary head; batch normalisation is taken out once its
    weights are counted, for it keeps the shapes.
    """
    torch = pytest.importorskip("torch")
    weights, macs = {False: 0, True: 0}, {False: 0, True: 0}

    def count(of_head, layer, inputs, output):
        macs[of_head] += output.numel() * layer.weight[0].numel()  # taps of a number

    for name, parameter in net.named_parameters():
        weights[name.startswith("auxiliary_head")] += parameter.numel()
    for name, layer in list(net.named_modules()):
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            of_head = name.startswith("auxiliary_head")
            layer.register_forward_hook(functools.partial(count, of_head))
        for child, inner in list(layer.named_children()):
            if isinstance(inner, torch.nn.BatchNorm2d):
                setattr(layer, child, torch.nn.Identity())
    net.eval()(images)
    return {
        False: (weights[False], macs[False]),
        True: (sum(weights.values()), sum(macs.values())),
    }


@pytest.mark.parametrize("dataset", SIZES)
@pytest.mark.parametrize("name", genotypes.GENOTYPES)
def test_counts_of_every_published_cell_are_pytorchs(name, dataset):
    """On the meta device: every layer gives shapes, and computes nothing."""
    oracle = pytest.importorskip("tests.oracles.torch_network")
    genotype, settings = genotypes.GENOTYPES[name], network.DATASETS[dataset]
    with oracle.torch.device("meta"):
        net = oracle.DartsNetwork(
            genotype,
            **SIZES[dataset],
            num_classes=settings.num_classes,
            auxiliary=True,
        )
        images = oracle.torch.empty(1, 3, *settings.size)
    for auxiliary, counted in counted_by_pytorch(net, images).items():
        assert network.cost(genotype, **SIZES[dataset], auxiliary=auxiliary) == counted


#: Weights and multiply-accumulates that UniNAS's tests state for the authors' code,
#: where an average pool counts once for each of its outputs, and MdeNAS's pools have
#: an affine batch normalisation each. https://github.com/cogsys-tuebingen/uninas
OF_PUBLIC_CODE = {
    ("DARTS_V1", "cifar10"): (3_169_414, 501_015_744),
    ("DARTS_V1", "imagenet"): (4_510_432, 505_893_696),
    ("P_DARTS", "cifar10"): (3_433_798, 532_202_688),
    ("P_DARTS", "imagenet"): (4_944_352, 542_848_320),
    ("MDENAS", "cifar10"): (3_786_742, 599_110_848),
    ("MDENAS", "imagenet"): (5_329_024, 595_514_304),
}


def pools(genotype, sizes) -> tuple[int, int]:
    """Affine weights after the pools, and outputs of the average pools."""
    channels, length = sizes["channels"], sizes["num_cells"]
    pixels = 32 if sizes["dataset"] == "cifar10" else 28
    weights = outputs = 0
    for index in range(length):
        reduction = index in (length // 3, 2 * length // 3)
        channels, pixels = (
            (2 * channels, pixels // 2)
            if reduction
            else (
                channels,
                pixels,
            )
        )
        for operation, _ in genotype.reduce if reduction else genotype.normal:
            weights += 2 * channels * operation.endswith("pool_3x3")
            outputs += channels * pixels**2 * (operation == "avg_pool_3x3")
    # The global pool before the linear layer counts as well.
    return weights, outputs + 4 * channels


@pytest.mark.parametrize(("what", "published"), OF_PUBLIC_CODE.items())
def test_counts_are_those_of_the_authors_code_to_the_last_digit(what, published):
    name, dataset = what
    genotype, sizes = genotypes.GENOTYPES[name], SIZES[dataset]
    weights, outputs = pools(genotype, sizes)
    cost = network.cost(genotype, **sizes)
    ours = cost.params + weights * (name == "MDENAS"), cost.macs + outputs
    assert ours == published


# --- the launcher ---------------------------------------------------------------


def launch(*flags: str) -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cost", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_the_launcher_counts_a_cell(tmp_path):
    # A search's folder is as good as a name.
    (tmp_path / "genotype.json").write_text(genotypes.DARTS_V2.to_json())
    told = launch(f"--genotype={tmp_path}")
    assert told.out == (
        "DARTS, second order: Liu et al., arXiv 1806.09055\n"
        "dataset=cifar10, channels=36, num_cells=20\n"
        "                           weights             MACs\n"
        "network                  3,349,342      528,359,040\n"
        "with auxiliary head      3,825,768      529,054,848\n"
    )
    assert (told.code, told.err) == (0, "")
    refused = launch("--genotype=DARTS_V2", "--channels=0")
    assert refused == (2, "", "error: channels is 0; it is an integer of at least 1\n")


def test_sizes_are_the_papers_where_no_flag_says_else():
    from experiments import cost  # defines flags

    lines = cost.table("imagenet").splitlines()
    assert lines[0] == "dataset=imagenet, channels=48, num_cells=14"
    assert len(lines) == 2 + len(genotypes.GENOTYPES)
    assert "DARTS_V2             4,718,752    529,911,552  DARTS, second" in lines[3]
    cell = genotypes.get("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert cost.sizes_of(cell, "cifar100")["num_cells"] == 5
    assert "auxiliary" not in cost.describe(cell, cost.sizes_of(cell, "cifar100"))
    with pytest.raises(InputError, match="'mnist' is not one of cifar10"):
        cost.table("mnist")
