"""An entry of the catalogue: a configuration, its variants and what is known of it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from nasjax.base import InputError


class Entry(NamedTuple):
    """A configuration by name.

    Attributes:
      command: that launches it: search, retrain or study.
      name: as ``--config`` has it.
      title: what it is, in a line.
      note: settings, hardware, time, figures.
      full: makes the full variant.
      variants: by name, each makes one of the full variant.
      flags: that its command has beside ``--config``.
      also: another name of it.
      needs: variables of its command.
    """

    command: str
    name: str
    title: str
    note: str
    full: Callable[..., ConfigDict]
    variants: Mapping[str, Callable[[ConfigDict], ConfigDict]]
    flags: tuple[str, ...] = ()
    also: str = ""
    needs: str = ""

    def get_config(self, variant: str | None = None, **settings: str) -> ConfigDict:
        """The full variant, or that of a name.

        Args:
          variant: what stands behind the colon.
          **settings: of ``full``.

        Raises:
          InputError: no variant of this name.
        """
        if variant and variant not in self.variants:
            known = ", ".join(sorted(self.variants))
            raise InputError(f"variant {variant!r} is not one of {known}")
        config = self.full(**settings)
        return self.variants[variant](config) if variant else config

    @property
    def about(self) -> str:
        """Title, command and note."""
        start = f"{self.needs} python -m experiments.{self.command}".strip()
        flags = (f"--config={self.name}", *self.flags)
        command = " \\\n        ".join((start, *flags))
        return f"{self.title}\n\n    {command}\n\n{self.note}"
