"""Small, licensed networks and data that come with the package, pinned by hash."""
