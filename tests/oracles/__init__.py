"""Other people's networks, written anew from their papers' code: what ours is held to.

The benchmark's side of PyTorch is made of them too.
"""
