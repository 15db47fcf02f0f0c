"""Launches of nasjax: absl-flag commands, run from the repository's root."""

from experiments import calls, pages

calls.share()
pages.take()
