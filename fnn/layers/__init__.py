"""Kernels configured as layers."""

from fnn.layers.dense import *
from fnn.layers.dropout import *
from fnn.layers.norm import *
from fnn.layers.reparametrization import *
