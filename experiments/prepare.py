r"""Prepare a data set for TFDS, without TensorFlow.

    python -m experiments.prepare --dataset=cifar10 --data_dir=DIR
    python -m experiments.prepare --dataset=imagenet2012 --archive_dir=DIR \
        --data_dir=DIR

CIFAR-10 and CIFAR-100 are downloaded (about 160 MB; a minute is spent on writing), or
``--archive=FILE`` takes the original binary archive (``cifar-10-binary.tar.gz``,
``cifar-100-binary.tar.gz``). ImageNet needs a login: ``--archive_dir`` names the folder
with ``ILSVRC2012_img_train.tar`` and ``ILSVRC2012_img_val.tar``, or with ``train/`` and
``val/`` that they were unpacked to, which are read where they lie; the room of the
archives is needed again, twice while writing. A search then finds the data set with
``TFDS_DATA_DIR=DIR``. Exit code 2: bad input, told in one line.
"""

from collections.abc import Sequence

from absl import flags

from experiments.launch import app
from nasjax.base import InputError
from nasjax.data.files.imagenet import NAME as IMAGENET
from nasjax.data.files.imagenet import prepare_imagenet
from nasjax.data.files.prepare import SOURCES, prepare
from nasjax.data.files.prepared import tfds_root
from nasjax.data.files.writing import Prepared

_DATASET = flags.DEFINE_enum(
    "dataset", "cifar10", [*sorted(SOURCES), IMAGENET], "What to prepare."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the TFDS data sets; $TFDS_DATA_DIR, else ~/tensorflow_datasets.",
)
_ARCHIVE = flags.DEFINE_string(
    "archive", None, "The original archive of CIFAR, if it is not to be downloaded."
)
_ARCHIVE_DIR = flags.DEFINE_string(
    "archive_dir",
    None,
    "Folder of the official archives of imagenet2012, or of train/ and val/ from them.",
)
_CHECKSUM = flags.DEFINE_string(
    "checksum", None, "MD5 of the archive; the published one."
)


def main(argv: Sequence[str]) -> None:
    """Prepare what the flags name."""
    del argv
    prepared = _prepare()
    state = "is prepared" if prepared.created else "was prepared before, nothing done,"
    print(f"{_DATASET.value} {state} in {prepared.folder}")


def _prepare() -> Prepared:
    root = tfds_root(_DATA_DIR.value)
    if _DATASET.value != IMAGENET:
        if _ARCHIVE_DIR.value is not None:
            raise InputError(
                f"--archive_dir is for {IMAGENET}; {_DATASET.value} takes --archive"
            )
        return prepare(
            _DATASET.value,
            data_dir=root,
            archive=_ARCHIVE.value,
            checksum=_CHECKSUM.value,
        )
    for flag in (_ARCHIVE, _CHECKSUM):
        if flag.value is not None:
            raise InputError(f"--{flag.name} is for CIFAR; {IMAGENET} takes a folder")
    if _ARCHIVE_DIR.value is None:
        raise InputError(
            f"--archive_dir must name the folder of the archives of {IMAGENET}, which "
            "is downloaded after a login at https://image-net.org/download-images"
        )
    return prepare_imagenet(archive_dir=_ARCHIVE_DIR.value, data_dir=root)


if __name__ == "__main__":
    app.run(main)
