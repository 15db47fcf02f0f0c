"""Named configurations, METHOD_SPACE_DATA.py, each with a `:smoke` variant."""
