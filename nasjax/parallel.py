"""Several devices on one host: the only module that knows how they are mapped.

A step is written against an axis name; here `jax.pmap` gives it that axis. The batch
is shared out by slots (`data.batches`), each device owns the memory rows of its slots,
and everything else is the same on all devices, to the bit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nasjax.base import Array, InputError
from nasjax.bilevel import SearchState
from nasjax.data.batches import Half

State = TypeVar("State")
Data = TypeVar("Data")

#: The devices that share a batch; `supernet.build` takes it where there are several.
AXIS = "devices"


class Devices(NamedTuple):
    """The devices of a search.

    Attributes:
      number: n; 1 maps nothing.
      batch_size: B of all devices together.
    """

    number: int
    batch_size: int

    @property
    def axis_name(self) -> str | None:
        """What the supernet and the dispatch are to be built with."""
        return AXIS if self.number > 1 else None

    def check(self) -> None:
        """Refuse a batch that cannot be shared out evenly, or devices not there.

        Raises:
          InputError: with both numbers.
        """
        if not 1 <= self.number <= jax.local_device_count():
            raise InputError(
                f"num_devices is {self.number}; it must be from 1 to "
                f"{jax.local_device_count()}, the devices here"
            )
        if self.batch_size % self.number:
            raise InputError(
                f"batch_size is {self.batch_size}; it must be a multiple of the "
                f"{self.number} devices"
            )

    def jit(
        self, run: Callable[..., Any], *, others: int = 1, updates: bool = False
    ) -> Any:
        """Compile ``run(state, data, *others) -> result`` for these devices.

        Args:
          run: written against `axis_name`.
          others: how many arguments follow; they are the same for all devices.
          updates: whether the result is ``(state, result)``; then the state is
            donated. A result must be the same on all devices.

        Returns:
          A function of states and data as `spread_state` and `spread_data` leave
          them; it can be lowered as that of `jax.jit` can.
        """
        donated = (0,) if updates else ()
        if self.number == 1:
            return jax.jit(run, donate_argnums=donated)
        return jax.pmap(
            run,
            axis_name=AXIS,
            in_axes=(0, 0, *[None] * others),
            out_axes=(0, None) if updates else None,
            devices=jax.local_devices()[: self.number],
            donate_argnums=donated,
        )

    def spread_state(self, state: State) -> State:
        """A state with a leading device axis: copies, but each its own memory rows."""
        if self.number == 1:
            return state
        if not isinstance(state, SearchState):
            return jax.tree.map(self._copies, state)
        copies = jax.tree.map(self._copies, state._replace(memory=()))
        return copies._replace(memory=jax.tree.map(self._rows, state.memory))

    def gather_state(self, state: State) -> State:
        """The state of one device, from that of several."""
        if self.number == 1:
            return state
        if not isinstance(state, SearchState):
            return jax.tree.map(lambda leaf: leaf[0], state)
        one = jax.tree.map(lambda leaf: leaf[0], state._replace(memory=()))
        return one._replace(memory=jax.tree.map(self._merge, state.memory))

    def spread_data(self, data: Data) -> Data:
        """Data with a leading device axis: each device has its slots of a `Half`."""
        if self.number == 1:
            return data

        def slots(array: Array) -> Array:
            steps, width = array.shape[:2]
            parts = array.reshape(
                steps, self.number, width // self.number, *array.shape[2:]
            )
            return self._put(jnp.moveaxis(parts, 1, 0))

        def spread(part: Half | Array) -> Any:
            if isinstance(part, Half):
                return jax.tree.map(slots, part)
            return self._copies(part)

        return jax.tree.map(spread, data, is_leaf=lambda part: isinstance(part, Half))

    def spread_batch(self, batch: Data) -> Data:
        """Arrays ``[B, ...]`` with a leading device axis: each has its rows.

        Of one device, the arrays are put on it.
        """
        if self.number == 1:
            return jax.device_put(batch)

        def rows(array: Any) -> Array:
            return self._put(array.reshape(self.number, -1, *array.shape[1:]))

        return jax.tree.map(rows, batch)

    def _put(self, stacked: Array) -> Array:
        mesh = Mesh(np.array(jax.local_devices()[: self.number]), (AXIS,))
        return jax.device_put(stacked, NamedSharding(mesh, PartitionSpec(AXIS)))

    def _copies(self, leaf: Array) -> Array:
        return self._put(jnp.broadcast_to(leaf[None], (self.number, *leaf.shape)))

    def _rows(self, memory: Array) -> Array:
        """``[slots, T B, ...]`` to ``[n, slots, T B/n, ...]``."""
        first, rows, *rest = memory.shape
        width = self.batch_size // self.number
        parts = memory.reshape(first, -1, self.number, width, *rest)
        parts = jnp.moveaxis(parts, 2, 0)
        return self._put(parts.reshape(self.number, first, rows // self.number, *rest))

    def _merge(self, memory: Array) -> Array:
        """The inverse of `_rows`."""
        _, first, rows, *rest = memory.shape
        width = self.batch_size // self.number
        parts = memory.reshape(self.number, first, -1, width, *rest)
        parts = jnp.moveaxis(parts, 0, 2)
        return parts.reshape(first, rows * self.number, *rest)
