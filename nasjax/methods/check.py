"""What the parts of a method give, held against what the step takes of them.

Each part is traced once, with shapes alone, before anything is compiled: a method in
the making learns in one line which of its parts gives what, and what was expected.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax import losses, schedules
from nasjax.arch_gradients import alone
from nasjax.architecture import Mixture
from nasjax.base import Array, Tree
from nasjax.data.batches import Batch
from nasjax.methods import shapes
from nasjax.methods.base import Candidates, Method, Terms, no_snapshots
from nasjax.methods.check_runs import check_architecture, refusal
from nasjax.spaces.base import SearchSpace, check_space
from nasjax.supernet import Architecture, Supernet

#: What the step calls each part with.
_CALLED = {
    "init": "(key, space)",
    "relax": "(key, alpha, progress, space)",
    "weight_relax": "(key, alpha, progress, space)",
    "attack": "(key, loss, architecture, progress)",
    "strengths": "(alpha, space)",
    "settle": "(alpha, space)",
    "adapt": "(space)",
    "weight_loss": "(terms)",
    "arch_loss": "(terms)",
    "lead": "(terms)",
    "teach": "(forward, alpha, space)",
    "project": "(alpha, architecture, progress, space)",
    "init_memory": "(num_examples, num_classes)",
    "remember": "(memory, batch, probs, epoch)",
    "init_snapshots": "(weights, alpha)",
    "take_snapshot": "(snapshots, weights, alpha, epoch)",
    "recall": "(snapshots, rerun, epoch)",
}


def check_method(
    method: Method, net: Supernet, *, batch_size: int, num_examples: int
) -> dict[str, Any]:
    """Hold every part of a method against what the step takes of it.

    Args:
      method: to be searched with.
      net: the supernet that it is to search.
      batch_size: B.
      num_examples: M, rows of the method's memory.

    Returns:
      The traced program of each part (a jaxpr), by name.

    Raises:
      ValueError: naming the part, what it gives and what is expected.
    """
    _check_fields(method)
    for part, called in _CALLED.items():
        function = getattr(method, part)
        if function is not None:
            _check_call(method.name, part, function, called)
    _check_space(method, net.space)
    return _Traced(method, net, batch_size, num_examples, {}).run()


def _check_fields(method: Method) -> None:
    """What is no function."""
    wrong = {
        "order": (method.order not in (0, 1, 2), "0, 1 or 2"),
        "arch_start": (not _is_count(method.arch_start, 0), "an epoch from 0 on"),
        "attack": (
            method.attack is not None and method.subgraphs is not None,
            "None where there are sub-graphs",
        ),
        "subgraphs": (
            not (method.subgraphs is None or _is_count(method.subgraphs, 1)),
            "None, or a number from 1 on",
        ),
        "candidates": (
            not (method.candidates is None or isinstance(method.candidates, Candidates))
            or not all(_is_count(n, 1) for n in method.candidates or ()),
            "None, or Candidates of numbers from 1 on",
        ),
        "schedules": (not isinstance(method.schedules, Mapping), "a schedule by name"),
    }
    for field, (is_wrong, expected) in wrong.items():
        if is_wrong:
            value = getattr(method, field)
            raise ValueError(
                f"method {method.name!r}: {field} is {value!r}; expected is {expected}"
            )


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_call(name: str, part: str, function: Any, called: str) -> None:
    """A function that can be called as the step will."""
    if not callable(function):
        raise ValueError(
            f"method {name!r}: {part} is {function!r}; expected is a function of "
            f"{called}"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some built-in functions nobody knows it
        return
    try:
        signature.bind(*called.split(","))
    except TypeError:
        raise ValueError(
            f"method {name!r}: {part} takes {signature}; it is called with {called}"
        ) from None


def _check_space(method: Method, space: SearchSpace) -> None:
    """A space that is one, and the one that the method makes of it."""
    check_space(space)
    try:
        adapted = method.adapt(space)
        settled = method.adapt(adapted)
    except ValueError:  # what was adapted already may not be once more
        return
    except Exception as error:
        raise ValueError(_raised(method.name, "adapt", error)) from error
    if not isinstance(adapted, SearchSpace):
        raise refusal(method.name, "adapt", adapted, "a SearchSpace")
    fields = ("primitives", "edges", "num_inputs", "cell_types", "channel_divisor")
    for field in fields:
        there, here = getattr(space, field), getattr(adapted, field)
        if there != here == getattr(settled, field):
            raise ValueError(
                f"method {method.name!r}: the supernet's space {space.name!r} does not "
                f"fit, its {field} are {there} and the method's {here}; build the "
                "supernet of method.adapt(space)"
            )


class _Traced(NamedTuple):
    """The parts of a method as they are traced, one after the other."""

    method: Method
    net: Supernet
    batch_size: int
    num_examples: int
    programs: dict[str, Any]

    def run(self) -> dict[str, Any]:
        """Every part, each on what the ones before it give."""
        method, space = self.method, self.net.space
        key = jax.eval_shape(lambda: jax.random.key(0))
        progress = shapes.array((), jnp.float32)
        alpha = self._trace("init", lambda key: method.init(key, space), key)
        self._check_cells("init", alpha)
        for name, schedule in method.schedules.items():
            self._schedule(name, schedule, progress)
        strengths = self._trace(
            "strengths", lambda a: method.strengths(a, space), alpha
        )
        self._check_cells("strengths", strengths)
        runs = self._trace(
            "relax", lambda k, a, p: method.relax(k, a, p, space), key, alpha, progress
        )
        self._runs("relax", runs, method.subgraphs)
        if method.settle is not None:
            settle = method.settle
            found = self._trace("settle", lambda a: settle(a, space), alpha)
            self._runs("settle", found, None)
        self._hooks(key, alpha, progress, runs)
        one = shapes.first(runs) if method.subgraphs else runs
        moved = self._trace(
            "project",
            lambda a, o, p: method.project(a, o, p, space),
            alpha,
            one,
            progress,
        )
        self._same("project", moved, alpha, "alpha")
        memory = self._memory()
        self._losses(alpha, one, memory)
        return self.programs

    def _runs(self, part: str, found: Any, number: int | None) -> None:
        check_architecture(self.method.name, part, found, self.net.space, number)

    def _hooks(self, key: Any, alpha: Any, progress: Any, runs: Any) -> None:
        """What the weights' pass runs, and how alpha's gradient is taken."""
        method, space = self.method, self.net.space
        if method.weight_relax is not None:
            relax = method.weight_relax
            runs = self._trace(
                "weight_relax",
                lambda k, a, p: relax(k, a, p, space),
                key,
                alpha,
                progress,
            )
            self._runs("weight_relax", runs, method.subgraphs)
        if method.attack is not None:
            attack = method.attack
            found = self._trace(
                "attack", lambda k, r, p: attack(k, _squares, r, p), key, runs, progress
            )
            self._same("attack", found, runs, "the architecture")
        if method.arch_gradient is not None:
            gradient = method.arch_gradient

            def call(weights: Any, alpha: Any) -> Any:
                def loss(weights: Any, alpha: Any) -> Any:
                    return _squares((weights, alpha))

                stay = {"inner_step": lambda weights, _: weights, "average": alone}
                return gradient(loss, loss, weights, alpha, **stay)[1]

            weights = {"w": shapes.array((2,))}
            moved = self._trace("arch_gradient", call, weights, alpha)
            self._same("arch_gradient", moved, alpha, "alpha")

    def _trace(self, part: str, call: Callable[..., Any], *shapes: Any) -> Any:
        """The shapes that a part gives; its program is kept."""
        try:
            program, found = jax.make_jaxpr(call, return_shape=True)(*shapes)
        except Exception as error:
            raise ValueError(_raised(self.method.name, part, error)) from error
        self.programs[part] = program
        return found

    def _schedule(self, name: str, schedule: Any, progress: Any) -> None:
        part = f"schedules[{name!r}]"
        schedules.check(f"method {self.method.name!r}: {part}", schedule)
        self._scalar(part, self._trace(part, schedule, progress))

    def _scalar(self, part: str, found: Any) -> None:
        leaves = jax.tree.leaves(found)
        is_leaf = len(leaves) == 1 and leaves[0] is found
        if not (is_leaf and found.shape == () and shapes.is_float(found)):
            raise refusal(self.method.name, part, found, "a scalar, float32[]")

    def _check_cells(self, part: str, found: Any) -> None:
        """``{cell type: [E, O]}``; alpha may have arrays of its own beside."""
        space = self.net.space
        shape = space.num_edges, space.num_ops
        expected = (
            f"{{{', '.join(space.cell_types)}: {shapes.shown(shapes.array(shape))}}}"
        )
        right = isinstance(found, Mapping) and all(
            getattr(found.get(name), "shape", None) == shape
            and shapes.is_float(found[name])
            for name in space.cell_types
        )
        if not right:
            raise refusal(self.method.name, part, found, expected)

    def _same(self, part: str, found: Any, before: Any, what: str) -> None:
        """A tree of the same arrays as before."""
        if shapes.kinds(found) != shapes.kinds(before):
            expected = f"{what} as it was, {shapes.shown(before)}"
            raise refusal(self.method.name, part, found, expected)

    def _memory(self) -> Any:
        """The memory, which `remember` leaves of the same shapes."""
        method, classes = self.method, self.net.settings.num_classes
        memory = self._trace(
            "init_memory", lambda: method.init_memory(self.num_examples, classes)
        )
        probs = shapes.array((self.batch_size, classes))
        after = self._trace(
            "remember",
            method.remember,
            memory,
            self._batch(),
            probs,
            shapes.array((), jnp.int32),
        )
        self._same("remember", after, memory, "the memory")
        return memory

    def _batch(self) -> Batch:
        size = self.batch_size
        number = shapes.array((size,), jnp.int32)
        images = shapes.array((size, *self.net.settings.image_shape))
        return Batch(images, number, number, number, shapes.array((size,)))

    def _losses(self, alpha: Any, one: Any, memory: Any) -> None:
        """Every added loss, on what a sub-graph shows; the network is not run."""
        method, space = self.method, self.net.space
        logits = shapes.array((self.batch_size, self.net.settings.num_classes))
        moment = (
            self._batch(),
            memory,
            shapes.array((), jnp.float32),
            shapes.array((), jnp.int32),
        )
        seen = alpha, one, logits, *moment

        def taught(alpha: Any, logits: Array) -> Any:
            forward = partial(_as_if_run, logits)
            return method.teach(forward, jax.lax.stop_gradient(alpha), space)

        found = self._trace("teach", taught, alpha, logits)
        if not isinstance(found, Mapping):
            raise refusal(method.name, "teach", found, "arrays by name")
        found = {**found, **self._recalled(alpha, logits)}
        led = {} if method.lead is None else {"lead": logits}
        self._scalar("arch_loss", self._loss("arch_loss", {}, *seen))
        if method.lead is not None:
            mixture = {
                name: Mixture(shapes.array((space.num_edges, space.num_ops)))
                for name in space.cell_types
            }
            of_mixture = alpha, mixture, logits, *moment
            self._scalar("lead", self._loss("lead", found, *of_mixture))
        self._scalar("weight_loss", self._loss("weight_loss", {**found, **led}, *seen))

    def _recalled(self, alpha: Any, logits: Any) -> Mapping[str, Any]:
        """What snapshots teach, which stay of the shapes that they begin with."""
        method, epoch = self.method, shapes.array((), jnp.int32)
        if method.init_snapshots is no_snapshots:
            return {}
        key = jax.eval_shape(lambda: jax.random.key(0))
        weights = jax.eval_shape(self.net.init, key)
        kept = self._trace("init_snapshots", method.init_snapshots, weights, alpha)
        taken = self._trace(
            "take_snapshot", method.take_snapshot, kept, weights, alpha, epoch
        )
        self._same("take_snapshot", taken, kept, "the snapshots")

        def recalled(kept: Any, logits: Any, epoch: Any) -> Any:
            probs = jax.nn.softmax(logits)
            return method.recall(kept, lambda weights, alpha: probs, epoch)

        found = self._trace("recall", recalled, kept, logits, epoch)
        if not isinstance(found, Mapping):
            raise refusal(method.name, "recall", found, "arrays by name")
        return found

    def _loss(self, part: str, taught: Tree, *seen: Any) -> Any:
        loss = getattr(self.method, part)

        def call(taught: Any, alpha: Any, one: Any, logits: Any, *rest: Any) -> Any:
            batch, memory, progress, epoch = rest
            return loss(
                Terms(
                    space=self.net.space,
                    alpha=alpha,
                    architecture=one,
                    logits=logits,
                    batch=batch,
                    memory=memory,
                    progress=progress,
                    epoch=epoch,
                    forward=partial(_as_if_run, jax.lax.stop_gradient(logits)),
                    mean=partial(losses.weighted_mean, weights=batch.weights),
                    taught=taught,
                )
            )

        return self._trace(part, call, taught, *seen)


def _as_if_run(logits: Array, architecture: Architecture) -> Array:
    """Logits that depend on an architecture, of no network."""
    cells = [cell._replace(drop=None) for cell in architecture.values()]
    for leaf in jax.tree.leaves(cells):
        logits = logits + jnp.sum(leaf).astype(logits.dtype)
    return logits


def _squares(tree: Any) -> Any:
    """A loss of anything."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if shapes.is_float(leaf)]
    return sum((jnp.square(leaf).sum() for leaf in floats), jnp.zeros(()))


def _raised(name: str, part: str, error: Exception) -> str:
    """What a part has raised, in one line."""
    lines = str(error).strip().splitlines() or [""]
    told = f"{type(error).__name__}: {lines[0].strip()}".removesuffix(": ")
    if "object is not callable" in told and "'" in told:
        told += " (a schedule is a function of progress, such as schedules.constant(…))"
    called = _CALLED.get(part, "(progress)")
    return f"method {name!r}: {part}{called} raises {told}"
