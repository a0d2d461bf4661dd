"""Write the two data files of the package from their publishers' files.

    python benchmarks/make_embedded_data.py FASHION_FOLDER OPTDIGITS_FOLDER

FASHION_FOLDER holds the four .gz files (Debian: dataset-fashion-mnist); OPTDIGITS_FOLDER holds
optdigits.tra and optdigits.tes (UCI). Prints the digests that the loaders pin.
"""

import sys
from pathlib import Path

import numpy as np

from wieldy.core import digest, rng
from wieldy.zoo.data import digits, fashion
from wieldy.zoo.data.idx import read_idx

ASSETS = Path(fashion.__file__).parent


def main(fashion_folder: Path, digits_folder: Path) -> None:
    """Draw the subset, pack both sets and print their digests."""
    arrays = {name: read_idx(fashion_folder / name, sha) for name, sha in fashion.CONTENT_SHA256.items()}
    images, labels = arrays["train-images-idx3-ubyte.gz"], arrays["train-labels-idx1-ubyte.gz"]
    order = rng.generator(0, "fashion subset", "train").permutation(len(images))
    validate, train = np.sort(order[:2000]), np.sort(order[2000:10000])
    test = np.sort(rng.generator(0, "fashion subset", "test").permutation(10000)[:3000])
    np.savez_compressed(
        ASSETS / fashion.SUBSET,
        train_images=images[train],
        train_labels=labels[train],
        validate_images=images[validate],
        validate_labels=labels[validate],
        validate_index=validate.astype(np.uint16),
        test_images=arrays["t10k-images-idx3-ubyte.gz"][test],
        test_labels=arrays["t10k-labels-idx1-ubyte.gz"][test],
    )
    parts = {}
    for part, name in (("train", "optdigits.tra"), ("test", "optdigits.tes")):
        table = np.loadtxt(digits_folder / name, delimiter=",", dtype=np.uint8)
        parts |= {f"{part}_images": table[:, :-1].reshape(-1, 8, 8), f"{part}_labels": table[:, -1]}
    np.savez_compressed(ASSETS / digits.FILE, **parts)
    for name in (fashion.SUBSET, digits.FILE):
        path = ASSETS / name
        print(name, f"{path.stat().st_size:,} bytes", digest.of_file(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
