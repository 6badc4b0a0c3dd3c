"""The compiled cores: pure functions of arrays, with their own gradients. No parameters, no layers."""

from fnn.kernels.dropout import *
from fnn.kernels.normalization import *
from fnn.kernels.precision import *
from fnn.kernels.reparametrization import *
