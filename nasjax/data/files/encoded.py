"""Examples of a prepared TFDS data set by number, their images still encoded."""

import io
import pathlib
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from nasjax.base import InputError
from nasjax.data.dataset import IMAGE_ERRORS, Path, in_threads, one_line
from nasjax.data.files.pixels import to_rgb
from nasjax.data.files.prepared import cannot_read, find


class Encoded(NamedTuple):
    """One example."""

    image: bytes  # a JPEG or PNG file
    label: int
    name: str  # of the image file, or of the row where there is none

    def decode(self) -> Image.Image:
        """The image as RGB.

        Raises:
          InputError: it is broken, in one line.
        """
        try:
            opened = Image.open(io.BytesIO(self.image), formats=("JPEG", "PNG"))
            return to_rgb(opened)
        except InputError as error:
            raise InputError(f"image {self.name} {error}") from None
        except IMAGE_ERRORS as error:
            raise InputError(
                f"image {self.name} cannot be decoded ({one_line(error)})"
            ) from error


class EncodedImages:
    """A split as a random-access sequence of `Encoded`.

    A copy of it that another process receives opens the files itself.

    Args:
      folder: of a version of the data set, with its ``dataset_info.json``.
      split: of the data set.

    Raises:
      InputError: the folder cannot be read, or has no such split.
    """

    def __init__(self, folder: Path, split: str):
        self.folder = pathlib.Path(folder)
        self.split = split
        self._source: Any = None
        info, self._length = self._open()
        self.class_names: tuple[str, ...] = tuple(info.features["label"].names)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> Encoded:
        if not 0 <= row < self._length:
            raise IndexError(f"row {row} of {self._length}")
        return self._example(row, self._source[row])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_source"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        # Not at the first example: two threads that import TFDS at once block each
        # other for ever.
        self._open()

    def __repr__(self) -> str:
        return f"EncodedImages({str(self.folder)!r}, {self.split!r})"

    def labels(self) -> np.ndarray:
        """Labels of all examples, int32 `[M]`; reads every record once."""
        rows = np.arange(len(self))
        parts = np.array_split(rows, max(1, len(rows) // 1024))

        def read(part: np.ndarray) -> np.ndarray:
            examples = self._source.__getitems__(list(part))
            return np.array([example["label"] for example in examples], np.int32)

        return np.concatenate(in_threads(read, parts))

    def _open(self) -> tuple[Any, int]:
        import tensorflow_datasets as tfds

        try:
            # Reading the folder, rather than the data set's name, asks no network.
            builder = tfds.builder_from_directory(self.folder)
            if self.split not in builder.info.splits:
                raise InputError(
                    f"{self.folder} has no split {self.split!r}, has "
                    f"{', '.join(sorted(builder.info.splits)) or 'none'}"
                )
            # TFDS would decode with OpenCV or warn, and has no crops.
            skip = {"image": tfds.decode.SkipDecoding()}
            self._source = builder.as_data_source(split=self.split, decoders=skip)
            return builder.info, len(self._source)
        except InputError:
            raise
        except Exception as error:  # the C++ reader raises RuntimeError, TFDS anything
            raise cannot_read(self.folder, error) from error

    def _example(self, row: int, fields: dict[str, Any]) -> Encoded:
        name = fields.get("file_name", fields.get("id"))
        where = f"{row} of {self.split}" if name is None else name.decode()
        return Encoded(bytes(fields["image"]), int(fields["label"]), where)


class Rows:
    """Some of the examples of a split, as a sequence of their own.

    Args:
      images: random access to examples.
      rows: which of them, in this order.
    """

    def __init__(self, images: Any, rows: np.ndarray):
        self.images = images
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Encoded:
        return self.images[int(self.rows[row])]


def open_tfds(
    name: str, *, split: str = "train", data_dir: Path | None = None
) -> EncodedImages:
    """A split of a data set prepared for TFDS.

    Args:
      name: of TFDS: "imagenet2012", or another with ``image`` and ``label``.
      split: of TFDS: "train", "validation", …
      data_dir: as in `load`.

    Raises:
      InputError: not prepared, in another format, unreadable, no such split.
    """
    return EncodedImages(find(name, data_dir), split)
