"""Launches of nasjax: absl-flag commands, run from the repository's root."""
