"""Numbers as people read them."""

import math


def number(value: float) -> str:
    """A number with four significant digits, or a whole one in full.

    >>> number(1930618), number(0.0251234), number(3e-5), number(float("nan"))
    ('1,930,618', '0.02512', '3e-05', 'nan')
    """
    if not math.isfinite(value):
        return str(float(value))
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1e4 else f"{value:.4g}"


def percent(value: float) -> str:
    """A fraction as per cent.

    >>> percent(0.91234)
    '91.23 %'
    """
    return f"{100 * value:.2f} %"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> duration(0.25), duration(95), duration(7300)
    ('0.25 s', '1 min 35 s', '2 h 1 min')
    """
    if not math.isfinite(seconds) or seconds < 60:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def scaled(value: float, unit: str) -> str:
    """A count in thousands, millions and so on.

    >>> scaled(1930618, "weights"), scaled(4.9e9, "B"), scaled(12, "B")
    ('1.93 M weights', '4.90 GB', '12 B')
    """
    space = "" if unit == "B" else " "
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if math.isfinite(value) and abs(value) >= size:
            return f"{value / size:.2f} {prefix}{space}{unit}"
    return f"{number(value)} {unit}"


def quantity(name: str, value: float) -> str:
    """A figure in the unit its name speaks of.

    >>> quantity("peak_bytes", 2.5e9), quantity("compile_seconds", 44)
    ('2.50 GB', '44 s')
    >>> quantity("weights", 1930618), quantity("valid accuracy", 0.5)
    ('1.93 M weights', '50.00 %')
    """
    words = name.lower().replace("/", "_").replace(" ", "_").split("_")
    if "accuracy" in words and 0 <= value <= 1:
        return percent(value)
    if "bytes" in words:
        return scaled(value, "B")
    if "seconds" in words and "per" not in words[: words.index("seconds")]:
        return duration(value)
    for word, unit in (
        ("macs", "MACs"),
        ("flops", "FLOPs"),
        ("weights", "weights"),
        ("params", "weights"),
        ("parameters", "weights"),
    ):
        if word in words:
            return scaled(value, unit)
    return number(value)
