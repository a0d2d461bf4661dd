"""Runs of layers whose activations stay in padded planes: the operations, their layout, the executor."""
