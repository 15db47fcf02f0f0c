"""How a supernet is run."""
