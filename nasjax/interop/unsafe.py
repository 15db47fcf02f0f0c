"""What a file of weights is by its first bytes, and why PyTorch does not load it.

PyTorch loads arrays without running anything that a file holds. What it says of other
files speaks of options that are none here, so the reason is found and told anew.
"""

import pathlib
import re
import zipfile

#: First bytes of what is saved under the name of weights by mistake.
_STARTS = {
    b"\x1f\x8b": "compressed by gzip; unpack it",
    b"\x89HDF": "of HDF5",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file: git lfs pull",
    b"\x93NUMPY": "an array of NumPy; save named arrays",
    b"Rar!": "an archive of RAR; unpack it",
    b"7z\xbc\xaf": "an archive of 7-Zip; unpack it",
}
_PAGE = re.compile(rb"\s*<(!doctype|html|\?xml|head|body)", re.I)
#: What a pickle names, as its reader knows it.
_KNOWN = (
    (r"numpy(\._?core)?\.(_?core\.)?multiarray\.scalar", "a NumPy scalar"),
    (r"numpy(\._?core)?\.(_?core\.)?multiarray\._reconstruct", "a NumPy array"),
    (r"numpy\..*", "an object of NumPy"),
    (r"torch\.nn\..*|.*\.modules?\..*", "a whole network ({})"),
)
_DAMAGED = re.compile("corrupt|truncated|unexpected EOF|PytorchStreamReader", re.I)
_ALONE = (
    "in the program that wrote it, save the arrays alone: "
    "torch.save(model.state_dict(), FILE)"
)


def kind(path: pathlib.Path) -> str:
    """Of which form a file is: "safetensors", "zip", or "" for another.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(16)
    if start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") < 1 << 27:
        return "safetensors"
    return "zip" if start[:4] == b"PK\x03\x04" else ""


def mistaken(start: bytes) -> str:
    """What is saved under the name of weights by mistake, of its first bytes.

    >>> mistaken(b"<!DOCTYPE html><html>")
    'a web page, of a log-in or an error'
    """
    if _PAGE.match(start):
        return "a web page, of a log-in or an error"
    found = (what for first, what in _STARTS.items() if start.startswith(first))
    return next(found, "")


def not_pytorch(path: pathlib.Path) -> str:
    """What a file is that is none of PyTorch's; an empty text for one that may be.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "it is empty"
    if what := mistaken(start):
        return f"it is no file of PyTorch, but {what}"
    if start.startswith(b"PK\x03\x04"):
        return _zip(path)
    # A pickle starts with its protocol; the oldest are texts, as is no array's file.
    if start[:1] != b"\x80" and start[257:262] != b"ustar":
        return "it is no file of PyTorch"
    return ""


def _zip(path: pathlib.Path) -> str:
    """`not_pytorch` of a zip archive, which files of PyTorch are."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "it is damaged or not whole; copy it again"
    if any(name.endswith("/constants.pkl") for name in names):
        return f"it is a program of TorchScript, not arrays; {_ALONE}"
    if any(name.endswith("/data.pkl") for name in names):
        return ""
    if names and all(name.endswith(".npy") for name in names):
        return "it is no file of PyTorch, but an .npz of NumPy"
    return "it is no file of PyTorch, but another zip archive; unpack it"


def reason(error: Exception) -> str:
    """Why PyTorch did not load a file, of its error, in one line."""
    text = str(error)
    found = re.search(r"GLOBAL ([\w.]+)", text)
    if found is None and re.search("Unsupported|Weights only", text):
        return f"it holds more than arrays, or another form of pickle; {_ALONE}"
    cut_off = found is not None and found[1].startswith("torch._utils.")  # a name
    if cut_off or isinstance(error, EOFError) or _DAMAGED.search(text):
        return "it is damaged or not whole; copy it again"
    if found is None:
        return f"PyTorch does not load it: {one_line(error)}"
    name = found[1]
    what = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    for form, known in _KNOWN:
        if re.fullmatch(form, name):
            what = known.format(name)
            break
    return f"it holds {what} beside its arrays, and loading that may run code; {_ALONE}"


def one_line(error: Exception) -> str:
    """The first line of an error, without what steers a terminal, and not endless."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(error)).strip()
    first = (text.splitlines() or [type(error).__name__])[0]
    return "".join(c for c in first if c.isprintable())[:300]
