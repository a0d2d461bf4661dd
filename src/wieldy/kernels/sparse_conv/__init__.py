"""Convolution with a sparse weight: contract, reference, and one variant for each instruction set."""
