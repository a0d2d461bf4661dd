"""The four files of an MNIST-like set: in a folder, the system's, the cache, or at the publisher."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wieldy.core.cache import cache_folder
from wieldy.core.errors import DataError
from wieldy.core.optional import need
from wieldy.zoo.data.idx import read_idx

PARTS = ("train", "t10k")


def normalised(pixels: NDArray[np.uint8], mean: float, std: float) -> NDArray[np.float32]:
    """Map (n, h, w) bytes to (n, 1, h, w) float32: scaled to [0, 1], then (x - mean) / std.

    Example:
        >>> normalised(np.array([[[0, 255]]], np.uint8), 0.5, 0.5).tolist()
        [[[[-1.0, 1.0]]]]
    """
    return ((pixels.astype(np.float32) / 255 - mean) / std)[:, None].astype(np.float32)


@dataclass(frozen=True)
class Published:
    """A set as its publisher has it.

    Attributes:
        name: also of its folder in the cache.
        address: of the folder that the publisher serves the files from.
        sha256: of each file's unpacked contents, by file name.
        system: a folder of the system's that may hold it.
        hint: how a user gets it otherwise.
    """

    name: str
    address: str
    sha256: Mapping[str, str]
    system: Path
    hint: str

    def arrays(self, folder: str | Path | None, *, download: bool) -> tuple[NDArray[np.uint8], ...]:
        """Return training images and labels, test images and labels, as bytes.

        Raises:
            DataError: the files are nowhere, cannot be downloaded, or do not hold what was published.
            DependencyError: pooch, which downloads, is not installed.
        """
        found = self._located(Path(folder) if folder else None, download=download)
        names = [f"{part}-{kind}-ubyte.gz" for part in PARTS for kind in ("images-idx3", "labels-idx1")]
        return tuple(read_idx(found / name, self.sha256[name]) for name in names)

    def _located(self, folder: Path | None, *, download: bool) -> Path:
        cache = cache_folder() / self.name.lower()
        places = [folder] if folder else [self.system, cache]
        for place in places:
            if all((place / name).is_file() for name in self.sha256):
                return place
        if not download:
            raise DataError(
                f"{self.name}: its four files are not in {' or '.join(map(str, places))}. {self.hint}, name "
                "their folder, run `make data`, or pass download=True."
            )
        self._download(cache)
        return cache

    def _download(self, cache: Path) -> None:
        """Fetch the publisher's files; what arrives is kept only if its contents are the published ones."""
        pooch = need("pooch", "compress", f"downloading {self.name}")
        for name, sha in self.sha256.items():
            try:
                path = Path(pooch.retrieve(self.address + name, known_hash=None, fname=name, path=cache))
            except OSError as error:  # also what requests raises
                raise DataError(f"{self.address}{name}: could not be downloaded ({error}).") from None
            try:
                read_idx(path, sha)
            except DataError:
                path.unlink()
                raise
