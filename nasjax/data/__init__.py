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
    to_device_with_test,
)
from nasjax.data.dataset import Dataset
from nasjax.data.own import load_folder, load_npz
from nasjax.data.prepare import prepare
from nasjax.data.sources import load

__all__ = [
    "Augmentation",
    "Batch",
    "Dataset",
    "DeviceData",
    "augment",
    "channel_statistics",
    "cutout",
    "epoch_order",
    "example_keys",
    "load",
    "load_folder",
    "load_npz",
    "normalise",
    "num_steps",
    "prepare",
    "preprocess",
    "random_crop",
    "random_flip",
    "split_half",
    "take",
    "to_device",
    "to_device_with_test",
]
