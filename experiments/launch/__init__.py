"""What the launches share: flags, the way from a configuration to a run, signals.

`app` is what every command starts with, `build` makes the library's objects of a
configuration, `runs` opens and ends a run, `environment` readies the process.
"""
