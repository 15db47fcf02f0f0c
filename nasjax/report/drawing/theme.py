"""Colours of the report: light, dark and on paper, the same in every drawing.

The palette follows Okabe and Ito's, darkened or lightened until a line of it stands
out from its background; neighbours also differ in lightness, and charts add dashes,
so that no reading depends on hue.
"""

from collections.abc import Sequence

#: Classes ``c0`` … ``c7`` of a stroke or a fill.
NUM_COLOURS = 8

_LIGHT = (
    "--ink:#1b2330;--muted:#5a6575;--line:#d8dee8;--paper:#ffffff;--wash:#f4f6f9;"
    "--c0:#0068b0;--c1:#cf5200;--c2:#00805e;--c3:#a8498a;"
    "--c4:#b07a00;--c5:#3a93d1;--c6:#6b7482;--c7:#7a4a26"
)
_DARK = (
    "--ink:#e5e9f0;--muted:#9ca7b7;--line:#323c4a;--paper:#11161d;--wash:#1a212b;"
    "--c0:#4aa8f0;--c1:#ff8b52;--c2:#34c99c;--c3:#e493c6;"
    "--c4:#eebc4a;--c5:#a4d3fb;--c6:#98a2b1;--c7:#cf9c74"
)
_SCREENS = (
    f".nj{{{_LIGHT};color-scheme:light dark}}"
    f"@media (prefers-color-scheme:dark){{.nj{{{_DARK}}}}}"
    f"@media print{{.nj{{{_LIGHT};color-scheme:light}}}}"
)
SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"

_DRAWINGS = (
    f".nj text{{font-family:{SANS};font-size:11px;fill:var(--ink)}}"
    ".nj .head{font-size:13px;font-weight:600}"
    ".nj .quiet{fill:var(--muted)}"
    f".nj .mono{{font-family:{MONO}}}"
    ".nj .strong{font-weight:700}"
    ".nj .tick{font-size:9px;fill:var(--muted)}"
    ".nj .grid{stroke:var(--line);stroke-width:1;fill:none}"
    ".nj .curve{fill:none;stroke-width:1.8;stroke-linejoin:round}"
    ".nj .state{fill:var(--wash);stroke:var(--ink);stroke-width:1.3}"
    ".nj .edge{fill:none;stroke-width:1.8}"
    ".nj .concat{fill:none;stroke:var(--muted);stroke-width:1;opacity:.65}"
    ".nj .label{fill-opacity:.13;stroke-width:1.2}"
    + "".join(
        f".nj .c{i}{{stroke:var(--c{i})}}.nj .f{i}{{fill:var(--c{i})}}"
        for i in range(NUM_COLOURS)
    )
)
#: All that a drawing needs to be looked at by itself.
STYLE = _SCREENS + _DRAWINGS

# Viridis (Smith and van der Walt): lightness rises evenly, hue adds to it, so it
# reads the same without colour vision and in grey print.
_VIRIDIS = (
    (0x44, 0x01, 0x54),
    (0x48, 0x24, 0x75),
    (0x41, 0x44, 0x87),
    (0x35, 0x5F, 0x8D),
    (0x2A, 0x78, 0x8E),
    (0x21, 0x91, 0x8C),
    (0x22, 0xA8, 0x84),
    (0x44, 0xBF, 0x70),
    (0x7A, 0xD1, 0x51),
    (0xBD, 0xDF, 0x26),
    (0xFD, 0xE7, 0x25),
)

#: Kind of operation -> its colours, so that an operation keeps its colour throughout.
_KINDS = {"conv": (0, 5, 3, 7), "pool": (1, 4), "skip": (2,), "none": (6,)}
_OTHER = (3, 7, 4, 5)


def kind(operation: str) -> str:
    """The kind of an operation by its name: conv, pool, skip, none or other.

    >>> kind("dil_conv_3x3"), kind("skip_connect"), kind("attention")
    ('conv', 'skip', 'other')
    """
    if operation in ("none", "zero"):
        return "none"
    if operation in ("identity", "skip"):
        return "skip"
    return next((name for name in _KINDS if name in operation), "other")


def operation_colours(operations: Sequence[str]) -> dict[str, int]:
    """A colour for each operation: kinds as in the drawings of cells.

    >>> operation_colours(["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3"])
    {'none': 6, 'skip_connect': 2, 'nor_conv_1x1': 0, 'nor_conv_3x3': 5}
    """
    used: dict[str, int] = {}
    colours = {}
    for operation in operations:
        name = kind(operation)
        choice = _KINDS.get(name, _OTHER)
        colours[operation] = choice[used.get(name, 0) % len(choice)]
        used[name] = used.get(name, 0) + 1
    return colours


def shade(fraction: float) -> tuple[str, str]:
    """Colour at ``fraction`` of the scale, and the colour of text upon it.

    >>> shade(0.0), shade(1.0)
    (('#440154', '#ffffff'), ('#fde725', '#101010'))
    """
    place = min(max(fraction, 0.0), 1.0) * (len(_VIRIDIS) - 1)
    index = min(int(place), len(_VIRIDIS) - 2)
    low, high = _VIRIDIS[index], _VIRIDIS[index + 1]
    rgb = [round(a + (b - a) * (place - index)) for a, b in zip(low, high, strict=True)]
    linear = [((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Black and white contrast equally with a luminance of 0.18.
    return "#{:02x}{:02x}{:02x}".format(*rgb), (
        "#101010" if luminance > 0.18 else "#ffffff"
    )
