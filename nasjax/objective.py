"""What a step minimises: the loss of the sub-graphs of one pass."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from nasjax import losses
from nasjax.base import Array, Key, Tree
from nasjax.data.batches import Batch
from nasjax.engine.subgraphs import summed
from nasjax.methods.base import (
    Alpha,
    Method,
    Recall,
    Rerun,
    Teach,
    Terms,
    no_recall,
    softmax_mixture,
)
from nasjax.supernet import Architecture, Supernet

#: Per-example sums of a step, to be divided by their counts.
Metrics = dict[str, Array]


class StepContext(NamedTuple):
    """What both losses of one step share."""

    memory: Tree
    snapshots: Tree
    progress: Array
    epoch: Array


class LossAux(NamedTuple):
    """What a loss shows beside its value.

    Attributes:
      architecture: what was run, with a leading K.
      probs: ``[B, Y]`` softmax outputs, mean over the K sub-graphs.
      metrics: sums over examples.
    """

    architecture: Architecture
    probs: Array
    metrics: Metrics


class LossInputs(NamedTuple):
    """What the losses of all sub-graphs read and have no gradient of."""

    batch: Batch
    moment: StepContext
    taught: Mapping[str, Tree]


class SubgraphAux(NamedTuple):
    """What the loss of one sub-graph shows.

    Attributes:
      logits: ``[B, Y]``.
      plain: the cross-entropy.
      added: what the method adds to it.
    """

    logits: Array
    plain: Array
    added: Array


_Shared = tuple[Tree, Alpha, Any]  # weights, alpha, and what the stem has made


class Loss(NamedTuple):
    """Cross-entropy of the relaxed supernet plus what the method adds.

    Summed over the method's sub-graphs, which are run one after the other.

    Attributes:
      net: the supernet.
      method: the search method.
      added: of the method, to this loss.
      teach: what that reads.
      lead: the method's loss of the whole mixture, where this pass trains it too.
      recall: of the method, which `added` reads too.
    """

    net: Supernet
    method: Method
    added: Callable[[Terms], Array]
    teach: Teach
    lead: Callable[[Terms], Array] | None = None
    recall: Recall = no_recall

    def value(
        self,
        weights: Tree,
        alpha: Alpha,
        batch: Batch,
        key: Key,
        *,
        moment: StepContext,
    ) -> tuple[Array, LossAux]:
        """The value, and what it shows. Consumes the key."""
        net, method = self.net, self.method
        architecture = method.relax(key, alpha, moment.progress, net.space)
        shared = weights, alpha, net.stem(weights, batch.images)
        fixed_alpha = jax.lax.stop_gradient(alpha)
        taught = {
            **self.teach(self._forward(shared), fixed_alpha, net.space),
            **self.recall(
                moment.snapshots, self._rerun(key, batch, moment), moment.epoch
            ),
        }
        # What was recalled is read; the snapshots themselves are not needed any more.
        fixed = LossInputs(batch, moment._replace(snapshots=()), taught)
        led = jnp.zeros(())
        if self.lead is not None:
            led, logits = self._led(self.lead, shared, fixed)
            fixed = fixed._replace(taught={**taught, "lead": logits})
        if method.subgraphs is None:
            value, seen = self._one(shared, fixed, architecture)
            add_axis = partial(jax.tree.map, lambda leaf: leaf[None])
            architecture, seen = add_axis((architecture, seen))
        else:
            value, seen = summed(self._one, shared, fixed, architecture)
        if self.lead is not None:
            value = led + value
            seen = seen._replace(added=seen.added + led / len(seen.added))
        return value, self._seen(architecture, seen, batch)

    def _forward(self, shared: _Shared) -> Callable[[Architecture], Array]:
        weights, _, states = jax.lax.stop_gradient(shared)
        return lambda architecture: self.net.cells(weights, architecture, states)

    def _rerun(self, key: Key, batch: Batch, moment: StepContext) -> Rerun:
        """Another supernet on the batch, with the draws of the one that is trained.

        The key is that of the step's own relaxation, on purpose: with the same weights
        and alpha it says the same.
        """

        def rerun(weights: Tree, alpha: Alpha) -> Array:
            weights, alpha = lax.stop_gradient((weights, alpha))
            entry = self.net.stem(weights, batch.images)
            runs = self.method.relax(key, alpha, moment.progress, self.net.space)
            if self.method.subgraphs is None:
                return jax.nn.softmax(self.net.cells(weights, runs, entry))
            logits = lax.map(lambda one: self.net.cells(weights, one, entry), runs)
            return jax.nn.softmax(logits).mean(axis=0)

        return rerun

    def _led(
        self, lead: Callable[[Terms], Array], shared: _Shared, fixed: LossInputs
    ) -> tuple[Array, Array]:
        """The loss of the whole mixture, and its logits, which have no gradient.

        As that of a sub-graph its gradient is taken at once: nothing of the mixture is
        kept while the sub-graphs run.
        """

        def loss(
            shared: _Shared, fixed: LossInputs, number: Array
        ) -> tuple[Array, Array]:
            del number
            alpha = jax.lax.stop_gradient(shared[1])
            mixture = softmax_mixture(alpha, self.net.space)
            terms = self._terms(shared, fixed, mixture)
            return lead(terms), terms.logits

        value, logits = summed(loss, shared, fixed, jnp.zeros(1))
        return value, logits[0]

    def _one(
        self, shared: _Shared, fixed: LossInputs, architecture: Architecture
    ) -> tuple[Array, SubgraphAux]:
        """Of one sub-graph."""
        terms = self._terms(shared, fixed, architecture)
        errors = losses.cross_entropy_per_example(terms.logits, fixed.batch.labels)
        plain, added = terms.mean(errors), self.added(terms)
        return plain + added, SubgraphAux(terms.logits, plain, added)

    def _terms(
        self, shared: _Shared, fixed: LossInputs, architecture: Architecture
    ) -> Terms:
        """What an added loss of an architecture may read, which is run for it."""
        weights, alpha, states = shared
        batch = fixed.batch
        return Terms(
            space=self.net.space,
            alpha=alpha,
            architecture=architecture,
            logits=self.net.cells(weights, architecture, states),
            batch=batch,
            memory=fixed.moment.memory,
            progress=fixed.moment.progress,
            epoch=fixed.moment.epoch,
            forward=self._forward(shared),
            mean=partial(
                losses.weighted_mean, weights=batch.weights, axis_name=self._axis
            ),
            taught=fixed.taught,
        )

    def _seen(
        self, architecture: Architecture, seen: SubgraphAux, batch: Batch
    ) -> LossAux:
        hits = jax.vmap(losses.accuracy_hits, in_axes=(0, None))
        correct = hits(seen.logits, batch.labels).mean(axis=0)
        count = _total(batch.weights, self._axis)
        metrics = {
            "loss": seen.plain.mean() * count,
            "accuracy": _total(correct * batch.weights, self._axis),
            "added_loss": seen.added.mean() * count,
            "count": count,
        }
        return LossAux(architecture, jax.nn.softmax(seen.logits).mean(axis=0), metrics)

    @property
    def _axis(self) -> str | None:
        return self.net.settings.context.axis_name


def _total(values: Array, axis_name: str | None) -> Array:
    """Sum over the batch of all devices."""
    own = values.sum()
    return own if axis_name is None else jax.lax.psum(own, axis_name)
