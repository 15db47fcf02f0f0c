"""Writing data sets for TFDS, without TensorFlow."""

import contextlib
import io
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from nasjax.base import InputError


class Prepared(NamedTuple):
    """A data set that TFDS can read."""

    folder: pathlib.Path
    created: bool  # False: it was there already, and nothing was done


class Layout(NamedTuple):
    """What makes a data set the official one: its name, version and info.

    Attributes:
      name: of TFDS.
      version: of TFDS.
      features: makes its features; TFDS is imported only where it is used.
      description: a sentence.
      homepage: its authors' page.
    """

    name: str
    version: str
    features: Callable[[], dict[str, Any]]
    description: str
    homepage: str


#: Makes the examples of a split: a key, which decides TFDS's shuffle, and features.
Examples = Callable[[], Iterator[tuple[Any, dict[str, Any]]]]


def write(
    layout: Layout, splits: Mapping[str, Examples], root: pathlib.Path
) -> pathlib.Path:
    """Write splits as ArrayRecord, whole or not at all; returns their folder.

    Args:
      layout: of the data set.
      splits: examples of every split. Images are given encoded, or as Pillow's:
        TFDS encodes arrays with TensorFlow.
      root: folder of the TFDS data sets, which exists.

    Raises:
      InputError: the folder cannot be written, or out of the examples.
    """
    import tensorflow_datasets as tfds

    # TFDS prints about downloads it does not make, and draws bars into log files.
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    mistakes: list[InputError] = []
    builder = _builder(layout, splits, root, mistakes)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            tempfile.TemporaryDirectory(dir=root) as scratch,
        ):
            builder.download_and_prepare(
                file_format="array_record",
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
                download_dir=scratch,
            )
    except Exception as error:
        if mistakes:  # TFDS wraps what the examples raise
            raise mistakes[0] from error
        if isinstance(error, OSError):
            raise InputError(f"data_dir {root} cannot be written ({error})") from error
        raise
    return pathlib.Path(builder.data_dir)


def check_writable(root: pathlib.Path) -> None:
    """Make the folder of the data sets.

    Raises:
      InputError: it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise InputError(f"data_dir {root} cannot be written ({error})") from error


def _builder(
    layout: Layout,
    splits: Mapping[str, Examples],
    root: pathlib.Path,
    mistakes: list[InputError],
) -> Any:
    """Builder of the official name and features, fed from memory or archives."""
    import tensorflow_datasets as tfds

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        VERSION = tfds.core.Version(layout.version)

        def _info(self) -> Any:
            return self.dataset_info_from_configs(
                description=layout.description,
                features=tfds.features.FeaturesDict(layout.features()),
                supervised_keys=("image", "label"),
                homepage=layout.homepage,
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            del dl_manager
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split: str) -> Iterator[tuple[Any, Any]]:
            try:
                yield from splits[split]()
            except InputError as error:
                mistakes.append(error)
                raise

    Builder.name = layout.name
    return Builder(data_dir=root)
