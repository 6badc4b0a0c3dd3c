"""Convolutions: `conv` checks and describes, `products` picks the primitives, `forms` computes them on a CPU."""

from fnn.kernels.convolution.conv import conv, conv_transpose

__all__ = ["conv", "conv_transpose"]
