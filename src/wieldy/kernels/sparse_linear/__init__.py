"""Linear layers with a sparse weight: contract, reference, and one variant for each instruction set."""
