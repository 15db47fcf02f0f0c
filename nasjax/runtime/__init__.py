"""The host side of a run: loop, devices, processes, checkpoints, folders."""
