"""Applying a plan to a network, and making a trainable network from a package."""
