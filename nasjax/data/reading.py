"""What was read: told in a line, and looked at before anything is learned from it."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nasjax.data.dataset import Dataset, Path
from nasjax.data.files.pixels import check_varied

#: What is passed over and not worth a warning.
HIDDEN = "hidden"
#: Classes are named where they are few.
_FEW_CLASSES = 5


class Reading(NamedTuple):
    """What a run reads of its data.

    Attributes:
      name: of the data set.
      image_shape: ``(H, W, Ch)``, after all resizing.
      class_names: Y.
      examples: of each part, ``train``, ``valid`` and ``test``; None: not read.
      valid: where the validation images come from.
      passed_over: what was not read, and how many files.
    """

    name: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    examples: Mapping[str, int | None]
    valid: str = ""
    passed_over: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        """One line.

        >>> print(Reading("tiny", (8, 8, 3), ("a", "b"),
        ...               {"train": 6, "valid": 2, "test": None}, "val/"))
        data tiny: 8 images · 2 classes (a, b) · 8x8 pixels, 3 channels · train 6,
        valid 2 (val/), test not read · 0 files passed over
        """
        height, width, channels = self.image_shape
        counts = []
        for part, number in self.examples.items():
            told = "not read" if number is None else f"{number:,}"
            source = f" ({self.valid})" if part == "valid" and self.valid else ""
            counts.append(f"{part} {told}{source}")
        total = sum(number or 0 for number in self.examples.values())
        names = f" ({', '.join(self.class_names)})"
        if len(self.class_names) > _FEW_CLASSES:
            names = ""
        noun = "channel" if channels == 1 else "channels"
        return (
            f"data {self.name}: {total:,} images · {len(self.class_names)} classes"
            f"{names} · {height}x{width} pixels, {channels} {noun} · "
            f"{', '.join(counts)} · {passed_over_text(self.passed_over)}"
        )


def passed_over_text(passed: Iterable[tuple[str, int]]) -> str:
    """How many files were passed over, and why.

    >>> passed_over_text([(".txt", 2), (".txt", 1), (".heic", 1)])
    '4 files passed over: 3 .txt, 1 .heic'
    """
    total: Counter[str] = Counter()
    for what, number in passed:
        total[what] += number
    files = sum(total.values())
    listed = ", ".join(f"{number} {what}" for what, number in total.items())
    noun = "file" if files == 1 else "files"
    return f"{files} {noun} passed over" + (f": {listed}" if listed else "")


def look(dataset: Dataset, path: Path, *, split: str, note: str = "") -> Dataset:
    """Warn on stderr of what was passed over, and refuse what teaches nothing.

    Args:
      dataset: returned as it is.
      path: where it was read.
      split: of it.
      note: more to tell.

    Raises:
      InputError: see `pixels.check_varied`.
    """
    check_varied(dataset.images, part=f"{split} images of {path}")
    shown = [(what, files) for what, files in dataset.passed_over if what != HIDDEN]
    told = [passed_over_text(shown)] if shown else []
    if note:
        told.append(note)
    if told:
        print(f"warning: {path}: {'; '.join(told)}", file=sys.stderr)
    return dataset
