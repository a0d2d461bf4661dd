"""Which channels, weights or blocks can be spared."""
