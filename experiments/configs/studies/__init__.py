"""Studies of our own, in the form of `experiments.configs.papers.base`."""
