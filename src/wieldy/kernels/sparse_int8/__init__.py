"""Products of sparse matrices of signed bytes with planes of levels."""
