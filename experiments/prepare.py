"""Download CIFAR-10 or CIFAR-100 and prepare it for TFDS, without TensorFlow.

    python -m experiments.prepare --dataset=cifar10 --data_dir=DIR

``--archive=FILE`` takes the original binary archive (``cifar-10-binary.tar.gz``,
``cifar-100-binary.tar.gz``) instead of downloading it. About 160 MB are downloaded
and a minute is spent on writing. A search then finds the data set with
``TFDS_DATA_DIR=DIR``. Exit code 2: bad input, told in one line.
"""

from collections.abc import Sequence

from absl import flags

from experiments import app
from nasjax.data.prepare import SOURCES, prepare
from nasjax.data.sources import tfds_root

_DATASET = flags.DEFINE_enum("dataset", "cifar10", sorted(SOURCES), "What to prepare.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the TFDS data sets; $TFDS_DATA_DIR, else ~/tensorflow_datasets.",
)
_ARCHIVE = flags.DEFINE_string(
    "archive", None, "The original archive, if it is not to be downloaded."
)
_CHECKSUM = flags.DEFINE_string(
    "checksum", None, "MD5 of the archive; the published one."
)


def main(argv: Sequence[str]) -> None:
    """Prepare what the flags name."""
    del argv
    prepared = prepare(
        _DATASET.value,
        data_dir=tfds_root(_DATA_DIR.value),
        archive=_ARCHIVE.value,
        checksum=_CHECKSUM.value,
    )
    state = "is prepared" if prepared.created else "was prepared before, nothing done,"
    print(f"{_DATASET.value} {state} in {prepared.folder}")


if __name__ == "__main__":
    app.run(main)
