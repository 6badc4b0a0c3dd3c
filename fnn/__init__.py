"""fnn: neural networks as pure functions over parameter pytrees, with jit-compiled kernels."""

from fnn import optim
from fnn.layer import *
