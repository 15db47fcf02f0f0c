"""Charts and cells as SVG."""
