"""Where fetched data and measured tables are kept between runs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return $WIELDY_CACHE, or wieldy's folder in the user's cache folder."""
    base = os.environ.get("WIELDY_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "wieldy"
