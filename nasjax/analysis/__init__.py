"""What a search did to its architecture parameters, each measure usable alone."""

from nasjax.analysis.statistics import Summary, difference, summarise

__all__ = ["Summary", "difference", "summarise"]
