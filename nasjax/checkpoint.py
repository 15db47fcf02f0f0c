"""Checkpoints: one thin module over Orbax, so that its API stands in one place."""

import logging
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from nasjax.base import InputError, Tree

_KEPT = 2


class Checkpoints:
    """The checkpoints of one run, written in the background, atomically.

    A save returns once the state is copied to the host; the file is complete, or
    absent, whatever happens to the process meanwhile.
    """

    def __init__(self, folder: Path):
        """Open a folder; it need not exist yet."""
        # Orbax reports every save at info level through absl.
        logging.getLogger("absl").setLevel(logging.WARNING)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=_KEPT, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def save(self, step: int, state: Tree) -> None:
        """Save a state in the background; a step already saved is left alone."""
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, template: Tree) -> Tree | None:
        """The newest complete state, or None where there is none.

        Args:
          template: a state of the same structure, for shapes and dtypes.

        Raises:
          InputError: the newest is damaged, or of another structure.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        shapes: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(shapes))
        except Exception as error:  # Orbax raises what its many layers do
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"checkpoint {self._manager.directory / str(step)} cannot be read "
                f"({reason}); remove it to go on from the one before"
            ) from error

    def close(self) -> None:
        """Wait for the last save."""
        self._manager.wait_until_finished()
        self._manager.close()
