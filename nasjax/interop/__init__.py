"""Weights and networks in other programs' forms.

`pytorch` maps variables to and from the names of PyTorch's DARTS and NAS-Bench-201
networks, `files` reads and writes such names and arrays, `trained` keeps weights with
the network they are of, `exported` makes a trained network one file that runs without
this library.
"""

from nasjax.interop import exported as exported
from nasjax.interop import files as files
from nasjax.interop import pytorch as pytorch
from nasjax.interop import trained as trained
