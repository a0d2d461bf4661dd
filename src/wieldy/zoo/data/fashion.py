"""Fashion-MNIST: 28x28 grey pictures of ten kinds of clothing.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST", arXiv 1708.07747; MIT licence, (c) 2017 Zalando SE
(LICENSE-fashion-mnist beside this file). `embedded` needs no network; `full` reads the publisher's
60,000 + 10,000 from disk and downloads only when told to.

The 2,000 validation pictures are taken from the publisher's training set and are never trained on:
both functions leave the same ones out.
"""

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core import digest
from wieldy.core.data import Arrays, Data
from wieldy.core.errors import DigestError
from wieldy.zoo.data.published import Published, normalised

CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
MEAN, STD = 0.2860, 0.3530  # of the 60,000 training pictures, scaled to [0, 1]
SUBSET = "fashion_subset.npz"
SUBSET_SHA256 = "cd2c82fbd657e9d67e5513bfd85315e5ee160873ef38602ee7735410dfb0381f"
PUBLISHER = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
SYSTEM = Path("/usr/share/datasets/fashion-mnist")
CONTENT_SHA256 = {  # of the unpacked files
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def normalise(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Map (n, 28, 28) bytes to (n, 1, 28, 28) float32 of mean 0 and deviation 1 over the training set."""
    return normalised(pixels, MEAN, STD)


def embedded() -> Data:
    """Return the subset in the package: 8,000 training, 2,000 validation and 3,000 test pictures.

    Raises:
        DigestError: the file on disk is not the published one.

    Example:
        >>> data = embedded()
        >>> data.train.size, data.validate.size, data.test.size
        (8000, 2000, 3000)
    """
    stored = _subset()
    return Data(
        (normalise(stored["train_images"]), stored["train_labels"].astype(np.int64)),
        (normalise(stored["validate_images"]), stored["validate_labels"].astype(np.int64)),
        (normalise(stored["test_images"]), stored["test_labels"].astype(np.int64)),
        classes=CLASSES,
        normalisation=((MEAN,), (STD,)),
    )


def full(folder: str | Path | None = None, *, download: bool = False) -> Data:
    """Return 58,000 training, the embedded 2,000 validation and all 10,000 test pictures.

    Looks at `folder`, then at the system's data sets (Debian's dataset-fashion-mnist), then at the
    cache; downloads from the publisher only if `download` is set.

    Raises:
        DataError: the files are nowhere, cannot be downloaded, or do not hold what was published.
        DependencyError: pooch, which downloads, is not installed.
    """
    pixels, labels, test_pixels, test_labels = _published().arrays(folder, download=download)
    images, targets = normalise(pixels), labels.astype(np.int64)
    held_out = _subset()["validate_index"].astype(np.intp)
    kept = np.setdiff1d(np.arange(len(images)), held_out)
    return Data(
        Arrays(images[kept], targets[kept]),
        Arrays(images[held_out], targets[held_out]),
        (normalise(test_pixels), test_labels.astype(np.int64)),
        classes=CLASSES,
        normalisation=((MEAN,), (STD,)),
    )


def _published() -> Published:
    hint = "Install Debian's dataset-fashion-mnist"
    return Published("Fashion-MNIST", PUBLISHER, CONTENT_SHA256, SYSTEM, hint)


def _subset() -> dict[str, NDArray[Any]]:
    source = resources.files(__package__).joinpath(SUBSET)
    if digest.of_bytes(source.read_bytes()) != SUBSET_SHA256:
        raise DigestError(
            f"{SUBSET}: its SHA-256 must be {SUBSET_SHA256}; the file was changed. Reinstall wieldy."
        )
    with source.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return dict(stored)
