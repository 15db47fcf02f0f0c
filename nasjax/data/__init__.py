"""Data sets: on the host, on the device, augmented there, in batches."""

from nasjax.data.augment import (
    Augmentation,
    augment,
    channel_statistics,
    cutout,
    example_keys,
    normalise,
    preprocess,
    random_crop,
    random_flip,
)
from nasjax.data.batches import (
    Batch,
    DeviceData,
    epoch_order,
    num_steps,
    split_half,
    take,
    to_device,
    to_device_halves,
)
from nasjax.data.dataset import Dataset
from nasjax.data.files.encoded import EncodedImages, open_tfds
from nasjax.data.files.folder import load_folder
from nasjax.data.files.imagenet import prepare_imagenet
from nasjax.data.files.own import load_npz
from nasjax.data.files.prepare import prepare
from nasjax.data.shared import to_device_seeds
from nasjax.data.sources import load, splits
from nasjax.data.subset import load_halves

__all__ = [
    "Augmentation",
    "Batch",
    "Dataset",
    "DeviceData",
    "EncodedImages",
    "augment",
    "channel_statistics",
    "cutout",
    "epoch_order",
    "example_keys",
    "load",
    "load_folder",
    "load_halves",
    "load_npz",
    "normalise",
    "num_steps",
    "open_tfds",
    "prepare",
    "prepare_imagenet",
    "preprocess",
    "random_crop",
    "random_flip",
    "split_half",
    "splits",
    "take",
    "to_device",
    "to_device_halves",
    "to_device_seeds",
]
