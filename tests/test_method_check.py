"""Methods in the making: one line names the part, before anything is compiled."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import methods, schedules, search, spaces
from nasjax.architecture import Mixture, Path, to_path
from nasjax.methods import Candidates, Method, darts
from nasjax.methods.base import normal_alpha
from nasjax.methods.check import check_method
from nasjax.methods.msg_das import add_in_place_distillation, gumbel_paths
from nasjax.spaces import check_space
from tests import searching

EDGES, OPS = 6, 5
HALF = 0.5


def checked(method, net=None, **sizes):
    sizes = {"batch_size": 4, "num_examples": 12} | sizes
    return check_method(method, net or searching.linear_net(), **sizes)


def relaxed(make):
    """DARTS with what ``make`` gives of alpha instead of the mixture."""
    return darts()._replace(
        relax=lambda key, alpha, progress, space: make(alpha["cell"])
    )


def two(mixture):
    return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), mixture)


def path(alpha, **fields):
    return to_path(jnp.eye(OPS)[jnp.argmax(alpha, axis=-1)])._replace(**fields)


#: What is wrong with a method, and what the line has to say.
WRONG = {
    "relax gives an array": (
        relaxed(jax.nn.softmax),
        r"relax gives float32\[6, 5\]; expected is a nasjax\.\w+\.Mixture",
    ),
    "relax gives arrays by cell": (
        relaxed(lambda a: {"cell": jax.nn.softmax(a)}),
        r"relax gives \{cell: float32\[6, 5\]\}; expected is a nasjax\.\w+\.Mixture",
    ),
    "relax gives other cells": (
        relaxed(lambda a: {"normal": Mixture(a)}),
        r"relax gives \{normal: Mixture\(.*expected is .*\(cell\)",
    ),
    "relax gives weights of another shape": (
        relaxed(lambda a: {"cell": Mixture(a[:, :3])}),
        r"relax gives Mixture\(weights=float32\[6, 3\]\); .* \[6, 5\]",
    ),
    "relax gives no integers": (
        relaxed(lambda a: {"cell": path(a, operation=a[:, 0])}),
        r"relax gives Path\(operation=float32\[6\]\); .*integer \[6\]",
    ),
    "relax gives no booleans": (
        relaxed(lambda a: {"cell": path(a, active=jnp.ones(EDGES))}),
        r"relax gives Path\(active=float32\[6\]\); .*bool \[6\]",
    ),
    "relax gives one of two sub-graphs": (
        relaxed(lambda a: {"cell": Mixture(a)})._replace(subgraphs=2),
        r"Mixture\(weights=float32\[6, 5\]\); .*\[2, 6, 5\], the first axis its 2",
    ),
    "relax gives two of one": (
        relaxed(lambda a: {"cell": two(Mixture(a))}),
        r"relax gives Mixture\(weights=float32\[2, 6, 5\]\)",
    ),
    "relax drops by one rate": (
        relaxed(lambda a: {"cell": Mixture(a, 0.2)}),
        r"relax's drop gives .*; expected is None, or Drop\(key, rate\), each \[6\]",
    ),
    "relax gives nothing": (relaxed(lambda a: None), "relax gives None; expected"),
    "relax raises": (
        relaxed(lambda a: {"cell": Mixture(a @ a)}),
        r"relax\(key, alpha, progress, space\) raises TypeError",
    ),
    "relax takes less": (
        darts()._replace(relax=lambda alpha, space: {"cell": Mixture(alpha["cell"])}),
        r"relax takes \(alpha, space\); it is called with \(key, alpha, progress, spa",
    ),
    "settle gives weights": (
        darts()._replace(settle=lambda alpha, space: dict(alpha)),
        r"settle gives \{cell: float32\[6, 5\]\}; expected is a nasjax\.\w+\.Mixture",
    ),
    "init of another shape": (
        darts()._replace(init=lambda key, space: {"cell": jnp.zeros((OPS, EDGES))}),
        r"init gives \{cell: float32\[5, 6\]\}; expected is \{cell: float32\[6, 5\]\}",
    ),
    "init of other cells": (
        darts()._replace(init=lambda key, space: {"normal": jnp.zeros((EDGES, OPS))}),
        r"init gives \{normal: float32\[6, 5\]\}; expected is \{cell",
    ),
    "init of one array": (
        darts()._replace(init=lambda key, space: jnp.zeros((EDGES, OPS))),
        r"init gives float32\[6, 5\]; expected is \{cell",
    ),
    "init of integers": (
        darts()._replace(
            init=lambda key, space: {"cell": jnp.zeros((EDGES, OPS), int)}
        ),
        r"init gives \{cell: int32\[6, 5\]\}",
    ),
    "init is an array": (
        darts()._replace(init=np.zeros(2)),
        r"init is array\(.*expected is a function of \(key, space\)",
    ),
    "strengths of another shape": (
        darts()._replace(strengths=lambda alpha, space: {"cell": alpha["cell"][0]}),
        r"strengths gives \{cell: float32\[5\]\}; expected is \{cell: float32\[6, 5\]",
    ),
    "a loss of each example": (
        darts()._replace(weight_loss=lambda terms: terms.logits.mean(axis=-1)),
        r"weight_loss gives float32\[4\]; expected is a scalar",
    ),
    "a loss of alpha that is none": (
        darts()._replace(arch_loss=lambda terms: None),
        r"arch_loss gives None; expected is a scalar",
    ),
    "a loss that counts": (
        darts()._replace(arch_loss=lambda terms: terms.batch.labels.sum()),
        r"arch_loss gives int32\[\]; expected is a scalar, float32",
    ),
    "a loss in a list": (
        darts()._replace(arch_loss=lambda terms: [jnp.zeros(())]),
        r"arch_loss gives \(float32\[\]\); expected is a scalar",
    ),
    "a loss of what is not there": (
        darts()._replace(weight_loss=lambda terms: terms.targets.sum()),
        r"weight_loss\(terms\) raises AttributeError: .*'targets'",
    ),
    "a lead of each example": (
        darts()._replace(lead=lambda terms: terms.logits[:, 0]),
        r"lead gives float32\[4\]; expected is a scalar",
    ),
    "a teacher without a name": (
        darts()._replace(teach=lambda forward, alpha, space: jnp.zeros(3)),
        r"teach gives float32\[3\]; expected is arrays by name",
    ),
    "a number for a schedule": (
        darts()._replace(schedules={"temperature": 0.5}),
        r"schedules\['temperature'\] is 0.5; expected is a schedule of progress, such "
        r"as schedules.constant\(0.5\)",
    ),
    "a number for a schedule, within": (
        darts()._replace(arch_loss=lambda terms: HALF(terms.progress)),
        r"arch_loss\(terms\) raises TypeError: 'float' object is not callable \(a sche",
    ),
    "a schedule of many values": (
        darts()._replace(
            schedules={"rate": schedules.Schedule(lambda progress: jnp.ones(3))}
        ),
        r"schedules\['rate'\] gives float32\[3\]; expected is a scalar",
    ),
    "project of two arguments": (
        darts()._replace(project=lambda alpha, architecture: alpha),
        r"project takes \(alpha, architecture\); it is called with \(alpha, "
        r"architecture, progress, space\)",
    ),
    "project of a part": (
        darts()._replace(project=lambda alpha, one, progress, space: {}),
        r"project gives \{\}; expected is alpha as it was, \{cell: float32\[6, 5\]\}",
    ),
    "a memory that grows": (
        darts()._replace(
            init_memory=lambda examples, classes: jnp.zeros((1, examples)),
            remember=lambda m, batch, probs, epoch: jnp.concatenate([m, m]),
        ),
        r"remember gives float32\[2, 12\]; expected is the memory as it was",
    ),
    "a memory of another dtype": (
        darts()._replace(
            init_memory=lambda examples, classes: jnp.zeros((1, examples)),
            remember=lambda m, batch, probs, epoch: m > 0,
        ),
        r"remember gives bool\[1, 12\]; expected is the memory as it was, float32",
    ),
    "a memory of nothing": (
        darts()._replace(init_memory=lambda examples: ()),
        r"init_memory takes \(examples\); it is called with \(num_examples, num_classe",
    ),
    "an offset of operations": (
        relaxed(lambda a: {"cell": path(a, offset=a)}),
        r"relax gives Path\(offset=float32\[6, 5\]\); .*floating \[6\]",
    ),
    "snapshots that grow": (
        darts()._replace(
            init_snapshots=lambda weights, alpha: jnp.zeros(2),
            take_snapshot=lambda kept, weights, alpha, epoch: jnp.zeros(3),
        ),
        r"take_snapshot gives float32\[3\]; expected is the snapshots",
    ),
    "a recall without a name": (
        darts()._replace(
            init_snapshots=lambda weights, alpha: jnp.zeros(2),
            recall=lambda kept, rerun, epoch: kept,
        ),
        r"recall gives float32\[2\]; expected is arrays by name",
    ),
    "an order that is none": (
        darts()._replace(order=3),
        "order is 3; expected is 0, 1 or 2",
    ),
    "a share of sub-graphs": (
        darts()._replace(subgraphs=0.5),
        "subgraphs is 0.5; expected is None, or a number from 1 on",
    ),
    "a negative start": (
        darts()._replace(arch_start=-1),
        "arch_start is -1; expected is an epoch from 0 on",
    ),
    "no candidates": (
        darts()._replace(candidates=Candidates(0, 1, 1)),
        r"candidates is Candidates\(number=0.*from 1 on",
    ),
    "a schedule without a name": (
        darts()._replace(schedules=[schedules.constant(1.0)]),
        "schedules is .*; expected is a schedule by name",
    ),
    "adapt gives operations": (
        darts()._replace(adapt=lambda space: space.operations),
        r"adapt gives .*; expected is a SearchSpace|adapt.* raises",
    ),
    "a space that was not adapted": (
        methods.pc_darts(),
        r"'nasbench201' does not fit, its channel_divisor are 1 and the method's 4; "
        r"build the supernet of method.adapt\(space\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_part_that_is_wrong_is_named_in_a_line(case: str):
    method, expected = WRONG[case]
    with pytest.raises(ValueError, match=expected) as caught:
        checked(method)
    line = str(caught.value)
    assert "\n" not in line
    assert repr(method.name) in line


def test_nothing_is_compiled_before():
    method, expected = WRONG["relax gives an array"]
    with (
        pytest.raises(ValueError, match=expected),
        jax.log_compiles(False),
        jax.numpy_dtype_promotion("standard"),
    ):
        search.plan(
            searching.linear_net(),
            method,
            searching.digits(),
            optimizers=searching.both_optimizers(),
        )


@pytest.mark.parametrize("name", methods.METHODS)
@pytest.mark.parametrize("space", [spaces.darts, spaces.nasbench201])
def test_the_methods_that_are_there_pass(name: str, space):
    method = methods.METHODS[name]()
    net = searching.linear_net()._replace(space=method.adapt(space()))
    programs = checked(method, net)
    assert {"init", "relax", "weight_loss"} <= set(programs)


def test_parts_that_are_rare_pass():
    net = searching.linear_net()
    leading = add_in_place_distillation(
        gumbel_paths(k=2, temperature=schedules.constant(1.0))
    )
    assert "lead" in checked(leading, net)
    own = Method(
        "own",
        lambda key, space: {**normal_alpha(1.0)(key, space), "beta": jnp.zeros(EDGES)},
        lambda key, alpha, progress, space: {
            "cell": Path(
                jnp.zeros(EDGES, jnp.int32),
                alpha["beta"] * progress,
                jnp.ones(EDGES, bool),
            )
        },
        weight_loss=lambda terms: (
            terms.mean(terms.memory[0, terms.batch.rows])
            + terms.forward(terms.architecture).mean()
        ),
        init_memory=lambda examples, classes: jnp.zeros((2, examples)),
        remember=lambda m, batch, probs, epoch: m.at[epoch % 2, batch.rows].set(
            probs[:, 0]
        ),
    )
    assert len(checked(own, net)["init"].out_avals) == 2


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: methods.gdas(temperature=0.5), "temperature is 0.5; expected is a"),
        (
            lambda: methods.stc_nas(noise_range=0.3),
            r"noise_range is 0.3; .*(0.3)",
        ),
        (lambda: methods.stc_nas(js_strength=2), r"js_strength is 2; .*constant\(2\)"),
        (
            lambda: methods.sd_darts(strength="1"),
            "strength is '1'; expected is a sched",
        ),
        (
            lambda: methods.msg_das(drop_rate=0.2),
            "drop_rate is 0.2; expected",
        ),
        (
            lambda: methods.add_arch_loss(darts(), lambda terms: 0.0, strength=0.1),
            "strength is 0.1; expected is a schedule of progress",
        ),
    ],
)
def test_a_number_where_a_schedule_belongs_is_refused_at_once(make, expected: str):
    with pytest.raises(ValueError, match=expected):
        make()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"operations": ()}, "its operations are"),
        ({"cell_types": ()}, "its cell_types are"),
        ({"edges": ()}, r"its edges are \[\]"),
        ({"edges": ((1, 0),)}, "each goes from a state to a later node"),
        ({"edges": ((0, 2), (1, 2), (0, 1))}, "ordered by target, then by source"),
        ({"edges": ((0, 1), (0, 3))}, "0 edges enter node 2; there are at least 1"),
        ({"edges_per_node": 2}, "1 edges enter node 1; there are at least 2"),
        ({"output": (4,)}, "its output is .4,.; its states go to 3"),
    ],
)
def test_a_space_that_is_none_is_refused(fields, expected: str):
    space = spaces.nasbench201()
    check_space(space)
    with pytest.raises(ValueError, match=re.compile(f"'nasbench201'.*{expected}")):
        check_space(space._replace(**fields))
