"""Data sets: small ones in the package, larger ones read from disk and checked by content."""
