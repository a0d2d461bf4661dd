"""Published properties as checks that can fail, one file per system."""
