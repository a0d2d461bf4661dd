"""Methods by which weights share numbers."""
