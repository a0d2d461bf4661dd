"""The manifest is there twice, so that two readers may see two."""

import warnings
from pathlib import Path

from forged import sound_parts, zipped

ERROR = "EntriesError"


def forge(path: Path) -> None:
    """Write the file."""
    contents = [*sound_parts().contents().items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path.write_bytes(zipped([*contents, contents[0]]))
