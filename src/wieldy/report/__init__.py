"""One HTML page about a run, from its record alone: opens from disk, asks no network for anything."""
