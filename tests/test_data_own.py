"""One's own images as people have them: what is read, as what, and what is told."""

import io
import os
import pathlib
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from nasjax.base import InputError
from nasjax.data import Dataset, load, splits
from nasjax.data.files.pixels import check_varied, empty_share, hidden_share, to_rgb

GREY16 = np.array([[0, 5_000], [45_300, 65_535]], np.uint16)
SHIFTED = GREY16 >> 8
COLOURS = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png16(levels: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16 bits by the standard's own words; Pillow writes grey ones alone."""
    height, width = levels.shape[:2]

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff(levels: np.ndarray, bits: int, *, black_is_zero: bool = True) -> bytes:
    """A grey TIFF of 12 or 16 bits by its specification, little-endian."""
    height, width = levels.shape
    if bits == 12:  # the high bits first, every row filled up to a byte
        rows = ["".join(f"{level:012b}" for level in row) for row in levels]
        data = b"".join(
            int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8))
            for row in rows
        )
    else:
        data = levels.astype("<u2").tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: int(black_is_zero)}
    tags |= {273: 0, 277: 1, 278: height, 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # where the pixels begin
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + struct.pack("<I", 0) + data


def rgb_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(to_rgb(opened))


GREY = {
    "PNG of 16 bits": (png16(GREY16, 0), SHIFTED),
    "PGM of 16 bits": (b"P5 2 2 65535\n" + GREY16.astype(">u2").tobytes(), SHIFTED),
    "PGM of 12 bits": (
        b"P5 2 2 4095\n" + (GREY16 >> 4).astype(">u2").tobytes(),
        SHIFTED,
    ),
    "TIFF of 16 bits": (tiff(GREY16, 16), SHIFTED),
    "big-endian TIFF": (
        encoded(
            Image.frombytes("I;16B", (2, 2), GREY16.astype(">u2").tobytes()), "TIFF"
        ),
        SHIFTED,
    ),
    "TIFF of 16 bits, 0 is white": (
        tiff(GREY16, 16, black_is_zero=False),
        255 - SHIFTED,
    ),
    "TIFF of 12 bits": (tiff(GREY16 >> 4, 12), SHIFTED),
    "JPEG 2000 of 16 bits": (
        encoded(Image.fromarray(GREY16), "JPEG2000", irreversible=False),
        SHIFTED,
    ),
    "PNG of 1 bit": (
        encoded(Image.fromarray(SHIFTED > 100), "PNG"),
        np.where(SHIFTED > 100, 255, 0),
    ),
}


@pytest.mark.parametrize("name", GREY)
def test_grey_levels_of_any_depth_are_scaled_to_8_bits(name: str):
    data, levels = GREY[name]
    np.testing.assert_array_equal(rgb_of(data), np.stack([levels] * 3, axis=-1))


@pytest.mark.parametrize("kind", [2, 6])
def test_colours_of_16_bits_are_scaled(kind: int):
    channels = {2: 3, 6: 4}[kind]
    levels = np.random.default_rng(kind).integers(0, 65_536, (3, 5, channels))
    np.testing.assert_array_equal(rgb_of(png16(levels, kind)), levels[..., :3] >> 8)


ALPHA = np.dstack([COLOURS, np.arange(16, dtype=np.uint8).reshape(4, 4)])


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(ALPHA), COLOURS),  # colours under the transparency
        (Image.fromarray(COLOURS[..., :2].copy(), "LA"), COLOURS[..., [0, 0, 0]]),
        (Image.new("P", (2, 2), 0), np.zeros((2, 2, 3))),
        (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), [[[255, 0, 0]] * 2] * 2),
    ],
)
def test_other_modes_become_rgb(image: Image.Image, expected: np.ndarray):
    np.testing.assert_array_equal(np.asarray(to_rgb(image)), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.fromarray(np.ones((2, 2), np.float32) / 2), "floating-point pixels"),
        (Image.fromarray(np.full((2, 2), 70_000, np.int32)), "0..65535|range is not"),
        (Image.fromarray(np.full((2, 2), -3, np.int32)), "-3 to -3"),
        (
            Image.fromarray(np.dstack([COLOURS * 0, ALPHA[..., 3]])),
            r"picture in the transparency.*\(0, 0, 0\)",
        ),
    ],
)
def test_pixels_without_a_range_are_refused(image: Image.Image, message: str):
    with pytest.raises(InputError, match=message):
        to_rgb(image)


# --- a folder --------------------------------------------------------------------


def picture(seed: int = 0) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(levels)


def write(root: pathlib.Path, *names: str) -> pathlib.Path:
    """Pictures, each another, at the given places."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {".jfif": "JPEG", ".jpe": "JPEG", ".heic": "PNG"}.get(path.suffix)
        picture(seed).save(path, kind)
    return root


SUFFIXES = (
    *("png", "PNG", "jpg", "jpeg", "JPG", "jfif", "jpe", "gif", "tif", "tiff", "TIF"),
    *("bmp", "webp", "ppm", "tga", "jp2"),
)


def test_every_suffix_and_depth_is_read(tmp_path: pathlib.Path, capsys):
    write(tmp_path, *(f"a/1.{suffix}" for suffix in SUFFIXES))
    write(tmp_path, "b/1.png", "b/more/2.png", "b/more/deeper/3.PNG", "b/other/2.png")
    dataset = load("folder", path=tmp_path)
    assert np.bincount(dataset.labels).tolist() == [len(SUFFIXES), 4]
    assert dataset.passed_over == ()
    assert capsys.readouterr().err == ""


def test_what_is_passed_over_is_told(tmp_path: pathlib.Path, capsys):
    write(tmp_path, "a/1.png", "a/2.heic", "b/1.png", "b/.hidden.png", "stray.png")
    for name in (
        "a/notes.TXT",
        "b/no_suffix",
        "b/Thumbs.db",
        ".DS_Store",
        "labels.csv",
    ):
        (tmp_path / name).write_bytes(b"x")
    dataset = load("folder", path=tmp_path)
    told = capsys.readouterr().err
    assert len(dataset.labels) == 2
    assert told.count("\n") == 1
    for part in (
        f"warning: {tmp_path}: 5 files passed over: ",
        "1 .heic (Pillow reads it with a plugin only",
        *("1 .txt", "1 .csv", "1 without a suffix", "1 in no class folder"),
    ):
        assert part in told
    assert dict(dataset.passed_over)["hidden"] == 3
    load("folder", path=tmp_path, look=False)
    assert capsys.readouterr().err == ""


def test_further_pictures_of_a_file_are_told(tmp_path: pathlib.Path, capsys):
    write(tmp_path, "a/1.png", "b/1.png")
    pages = {"save_all": True, "append_images": [picture(8)]}
    picture(7).save(tmp_path / "a" / "2.tif", **pages)
    dataset = load("folder", path=tmp_path)
    np.testing.assert_array_equal(dataset.images[1], np.asarray(picture(7)))
    assert "1 with further pictures, of which the first" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_images_are_turned_as_their_exif_says(tmp_path: pathlib.Path, suffix: str):
    write(tmp_path, "a/1.png", "b/1.png")
    half = np.zeros((16, 16, 3), np.uint8)
    half[:, :8] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    options = {} if suffix == "tif" else {"quality": 100}
    Image.fromarray(half).save(
        tmp_path / "a" / f"2.{suffix}", exif=exif.tobytes(), **options
    )
    image = load("folder", path=tmp_path, image_size=16).images[1]
    assert image[:6].mean() > 240  # on the top
    assert image[10:].mean() < 15


def test_links_are_followed_once(tmp_path: pathlib.Path):
    write(tmp_path / "data", "a/1.png", "b/1.png")
    write(tmp_path / "elsewhere", "2.png")
    (tmp_path / "data" / "a" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "a" / "round").symlink_to(tmp_path / "data" / "a")
    (tmp_path / "data" / "b" / "9.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    assert len(load("folder", path=tmp_path / "data").labels) == 4


def test_the_other_name_is_named(tmp_path: pathlib.Path):
    np.savez(tmp_path / "x.npz", images=np.zeros(1))
    for name, path, other in (
        ("npz", tmp_path, "data.name=folder reads a folder"),
        ("folder", tmp_path / "x.npz", "data.name=npz reads arrays"),
    ):
        with pytest.raises(InputError, match=f"; {other}$"):
            load(name, path=path)


def test_home_is_found(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "own", "a/1.png", "b/1.png")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    assert len(load("folder", path="~/own").labels) == 2


# --- which folder is what --------------------------------------------------------

LAYOUTS = {
    "classes": (("a/1.png", "b/1.png"), ("train",), ("a", "b")),
    "splits": (
        ("train/a/1.png", "train/b/1.png", "test/a/1.png", "val/b/1.png"),
        ("train", "valid", "test"),
        ("a", "b"),
    ),
    "other names": (
        ("Training/a/1.png", "Training/b/1.png", "testing/a/1.png"),
        ("train", "test"),
        ("a", "b"),
    ),
    "validation": (
        ("train/a/1.png", "train/b/1.png", "validation/b/1.png"),
        ("train", "valid"),
        ("a", "b"),
    ),
    "classes with the names of splits": (
        ("train/1.png", "car/1.png", "test/1.png", "val/1.png"),
        ("train",),
        ("car", "test", "train", "val"),
    ),
    "a class with the name of a split, within a split": (
        ("train/train/1.png", "train/plane/1.png", "test/train/1.png"),
        ("train", "test"),
        ("plane", "train"),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_a_folder_is(tmp_path: pathlib.Path, name: str):
    files, found, classes = LAYOUTS[name]
    write(tmp_path, *files)
    assert splits("folder", path=tmp_path) == found
    for split in found:
        assert load("folder", path=tmp_path, split=split).class_names == classes
    for split in {"valid", "test"} - set(found):
        with pytest.raises(InputError, match=f"has no {split} split"):
            load("folder", path=tmp_path, split=split)


def test_labels_of_every_split_are_those_of_train(tmp_path: pathlib.Path):
    write(tmp_path, *(f"train/{name}/1.png" for name in "abc"))
    write(tmp_path, "val/c/1.png", "val/b/1.png", "test/b/1.png")
    (tmp_path / "test" / "a").mkdir()  # a class without test images
    for split, labels in (("train", [0, 1, 2]), ("valid", [1, 2]), ("test", [1])):
        assert load("folder", path=tmp_path, split=split).labels.tolist() == labels


REFUSED = {
    "no train": (("val/a/1.png", "val/b/1.png"), r"has val/ with class folders"),
    "two of a kind": (
        ("train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"),
        "val/ and valid/, both of which are the valid split",
    ),
    "no class folders": (
        ("train/1.png", "test/1.png"),
        r"test/ and train/ without class folders.*CLASS/1\.png",
    ),
    "one level too high": (("own/a/1.png", "own/b/1.png"), r"give path=\S*own$"),
    "several data sets": (
        ("one/train/a/1.png", "two/train/a/1.png"),
        r"one/train is a split within one/.*give path=\S*one, else .*train/one/",
    ),
    "splits within classes": (
        ("a/train/1.png", "a/test/1.png", "b/train/1.png"),
        r"a/test is a split within a/",
    ),
    "another class in val": (
        ("train/a/1.png", "train/b/1.png", "val/c/1.png"),
        r"val/c is no class of \S*train",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_folders_that_are_not_clear_are_refused(tmp_path: pathlib.Path, name: str):
    files, message = REFUSED[name]
    write(tmp_path, *files)
    with pytest.raises(InputError, match=message) as error:
        load("folder", path=tmp_path, split="valid" if "val" in name else "train")
    assert "\n" not in str(error.value)


def test_what_lies_beside_train_is_named(tmp_path: pathlib.Path, capsys):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "test/1.png")
    write(tmp_path, "c/1.png", "c/2.png", "train/3.png")
    assert len(load("folder", path=tmp_path).labels) == 2
    told = capsys.readouterr().err
    for part in (
        "4 files passed over",
        "2 in c/ beside train/",
        "1 in test/ without class folders",
        "1 in no class folder",
        "val/ is read as split='valid'",
    ):
        assert part in told


# --- a look at what was read -----------------------------------------------------

EVERY = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 3), np.uint8)
NOTHING = {
    "white": (np.full((5, 4, 4, 3), 255, np.uint8), "every pixel of the 5 .* is 255"),
    "one colour": (EVERY * 0 + np.uint8([1, 2, 3]), r"is \(1, 2, 3\)"),
    "one picture": (EVERY[[0, 0, 0]], "are one and the same picture"),
    "no blue": (EVERY * np.uint8([1, 1, 0]), "channel 2 of the 5 .* is 0 at every"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_images_that_teach_nothing_are_refused(tmp_path: pathlib.Path, name: str):
    images, message = NOTHING[name]
    with pytest.raises(InputError, match=message):
        check_varied(images, part="train images", channels=True)
    if name != "no blue":  # which is a matter of its normalisation
        np.savez(tmp_path / "x.npz", images=images, labels=np.arange(len(images)) % 2)
        with pytest.raises(InputError, match=message):
            load("npz", path=tmp_path / "x.npz")


def test_images_that_vary_are_taken():
    check_varied(EVERY, part="images", channels=True)
    check_varied(EVERY[:1], part="images")
    flat = np.arange(600, dtype=np.uint8).reshape(-1, 1, 1, 1)  # each of one grey
    check_varied(np.tile(flat, (1, 4, 4, 1)), part="images", channels=True)
    late = np.zeros((600, 2, 2, 1), np.uint8)
    late[-1, 0, 0, 0] = 1
    check_varied(late, part="images", channels=True)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 9)])
@pytest.mark.parametrize("pixels", [0, 1, 3, 4, 7, 8, 12, 15, 16, 17, 100])
def test_hidden_and_empty_shares_are_those_counted(
    pixels: int, height: int, width: int
):
    half = pixels // 2
    hidden = sum(
        y - half <= 0 and y + half >= height and x - half <= 0 and x + half >= width
        for y in range(height)
        for x in range(width)
    )
    assert hidden_share(pixels, height, width) == pytest.approx(
        hidden / (height * width)
    )
    offsets = range(2 * pixels + 1)  # of the crop in the padded image
    shown = sum(
        abs(y - pixels) < height and abs(x - pixels) < width
        for y in offsets
        for x in offsets
    )
    assert empty_share(pixels, height, width) == pytest.approx(
        1 - shown / len(offsets) ** 2
    )


def test_a_camera_of_12_bits_in_16_is_refused(tmp_path: pathlib.Path):
    write(tmp_path, "b/1.png")
    (tmp_path / "a").mkdir()
    levels = np.random.default_rng(2).integers(0, 4096, (6, 6))
    colours = np.random.default_rng(3).integers(0, 4096, (6, 6, 3))
    for data in (png16(levels, 0), png16(colours, 2)):
        (tmp_path / "a" / "1.png").write_bytes(data)
        with pytest.raises(InputError, match=r"stay below 4096 .* multiply .* by 16"):
            load("folder", path=tmp_path)
    (tmp_path / "a" / "1.png").write_bytes(png16(levels * 16, 0))
    np.testing.assert_array_equal(
        load("folder", path=tmp_path).images[0, ..., 1], levels >> 4
    )


# --- arrays ----------------------------------------------------------------------

LABELS = np.array([0, 1, 0, 1, 1])


def arrays(folder: pathlib.Path, **changed: np.ndarray) -> Callable[[], Dataset]:
    np.savez(folder / "x.npz", **({"images": EVERY, "labels": LABELS} | changed))
    return lambda: load("npz", path=folder / "x.npz")


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.int32])
def test_integers_of_8_bits_are_read_whatever_they_are_kept_in(tmp_path, dtype):
    read = arrays(tmp_path, images=EVERY.astype(dtype))
    np.testing.assert_array_equal(read().images, EVERY)


HELP = {
    "16 bits": ({"images": EVERY.astype(np.uint16) * 257}, r"\(images >> 8\)"),
    "below 0": ({"images": EVERY.astype(int) - 9}, r"int64 from -9 to .*scale them"),
    "0 to 1": ({"images": EVERY / 255}, r"\(255 \* images\)\.round\(\)"),
    "0 to 255": ({"images": EVERY / 1}, r"float64 from 0 to 255: images\.round\(\)"),
    "standardised": ({"images": EVERY / 64 - 2}, "scale them to 0..255"),
    "no number": ({"images": np.where(EVERY == 0, np.nan, EVERY)}, "no numbers"),
    "yes or no": ({"images": EVERY > 99}, r"np\.uint8\(255\) \* images"),
    "channels first": (
        {"images": EVERY.transpose(0, 3, 1, 2)},
        r"images\.transpose\(0, 2, 3, 1\)",
    ),
    "transparency": ({"images": EVERY[..., [0, 1, 2, 2]]}, r"images\[\.\.\., :3\]"),
    "strings": ({"labels": np.array(list("abaab"))}, "class_names, labels = np.uniq"),
    "whole floats": ({"labels": LABELS / 1}, r"labels\.astype\(np\.int32\)"),
    "one-hot": ({"labels": np.eye(2, dtype=int)[LABELS]}, r"labels\.argmax\(axis=1\)"),
    "a column": ({"labels": LABELS[:, None]}, r"labels\[:, 0\]"),
    "a gap": ({"labels": LABELS * 2}, "class 1 has no example: .*return_inverse"),
}


@pytest.mark.parametrize("name", HELP)
def test_a_refused_array_says_what_makes_it_right(tmp_path: pathlib.Path, name: str):
    changed, message = HELP[name]
    with pytest.raises(InputError, match=message) as error:
        arrays(tmp_path, **changed)()
    assert "\n" not in str(error.value)


def test_arrays_have_a_validation_split_and_unknown_ones_are_named(tmp_path, capsys):
    read = arrays(
        tmp_path, valid_images=EVERY[:3], valid_labels=LABELS[:3], x_train=EVERY
    )
    path = tmp_path / "x.npz"
    assert splits("npz", path=path) == ("train", "valid")
    assert read().passed_over == (("x_train.npy of no known key", 1),)
    assert "1 file passed over: 1 x_train.npy" in capsys.readouterr().err
    valid = load("npz", path=path, split="valid")
    np.testing.assert_array_equal(valid.images, EVERY[:3])
    np.savez(path, train_images=EVERY, train_labels=LABELS)
    with pytest.raises(InputError, match="key images, has train_images, train_labels"):
        load("npz", path=path)
