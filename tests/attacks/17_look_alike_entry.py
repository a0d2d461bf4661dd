"""The manifest is called by a name in which one letter is Cyrillic."""

from pathlib import Path

from forged import sound_parts, zipped

ERROR = "NotAPackageError"


def forge(path: Path) -> None:
    """Write the file."""
    contents = sound_parts().contents()
    renamed = [(name.replace("mani", "m\N{CYRILLIC SMALL LETTER A}ni"), contents[name]) for name in contents]
    path.write_bytes(zipped(renamed))
