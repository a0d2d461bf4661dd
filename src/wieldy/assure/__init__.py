"""Is it still the same model? Evidence on the saved file, with intervals."""
