"""MNIST: 28x28 grey pictures of handwritten digits.

Source: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE
1998. The pictures are CC BY-SA 3.0 and are not in the package: they are read from disk, and downloaded only
when told to. The last 2,000 training pictures are kept for validation.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wieldy.core.data import Data
from wieldy.zoo.data.published import Published, normalised

CLASSES = tuple("0123456789")
MEAN, STD = 0.1307, 0.3081  # of the 60,000 training pictures, scaled to [0, 1]
VALIDATE = 2000
PUBLISHER = "https://ossci-datasets.s3.amazonaws.com/mnist/"
SYSTEM = Path("/usr/share/datasets/mnist")
CONTENT_SHA256 = {  # of the unpacked files
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def normalise(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Map (n, 28, 28) bytes to (n, 1, 28, 28) float32 of mean 0 and deviation 1 over the training set."""
    return normalised(pixels, MEAN, STD)


def full(folder: str | Path | None = None, *, download: bool = False) -> Data:
    """Return 58,000 training, 2,000 validation and 10,000 test pictures.

    Looks at `folder`, then at the system's data sets, then at the cache; downloads from a mirror only if
    `download` is set.

    Raises:
        DataError: the files are nowhere, cannot be downloaded, or do not hold what was published.
        DependencyError: pooch, which downloads, is not installed.
    """
    published = Published("MNIST", PUBLISHER, CONTENT_SHA256, SYSTEM, hint="Unpack a copy there")
    images, labels, test_images, test_labels = published.arrays(folder, download=download)
    inputs, targets = normalise(images), labels.astype(np.int64)
    return Data(
        (inputs[:-VALIDATE], targets[:-VALIDATE]),
        (inputs[-VALIDATE:], targets[-VALIDATE:]),
        (normalise(test_images), test_labels.astype(np.int64)),
        classes=CLASSES,
        normalisation=((MEAN,), (STD,)),
    )
