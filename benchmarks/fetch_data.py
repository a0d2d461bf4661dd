"""Fill the cache with the data sets that the package does not carry.

    python benchmarks/fetch_data.py

Fashion-MNIST comes from Debian's package where apt is at hand, otherwise from its publisher. Contents are
checked against the digests in the loader.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from wieldy.core.cache import cache_folder
from wieldy.core.errors import WieldyError
from wieldy.zoo.data import fashion

DEBIAN = "dataset-fashion-mnist"


def main() -> int:
    """Look, fetch what is missing, and look again."""
    try:
        data = fashion.full()
    except WieldyError:
        try:
            if not from_debian():
                fashion.full(download=True)
            data = fashion.full()
        except (WieldyError, OSError) as error:
            print(f"error: Fashion-MNIST could not be fetched: {error}", file=sys.stderr)
            return 2
    print(f"Fashion-MNIST: {data.train.size:,} + {data.validate.size:,} + {data.test.size:,} pictures")
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
