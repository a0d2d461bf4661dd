"""Our own kernels: what they are called, what they promise, and whether they are here."""
