"""Optical digits: 8x8 pictures of handwritten digits; test writers differ from training writers.

Source: Alpaydin, Kaynak, "Optical Recognition of Handwritten Digits", UCI, CC BY 4.0
(LICENSE-optical-digits beside this file). All 3,823 + 1,797 pictures are in the package.
"""

from importlib import resources

import numpy as np

from wieldy.core import digest, rng
from wieldy.core.data import Data
from wieldy.core.errors import DigestError

FILE = "optical_digits.npz"
FILE_SHA256 = "e9355b56286ec609ffdc8a3c6fc7f04eea8b3a586ba6f8e9c87b99ab2304e565"
LEVELS = 16  # pixel values run from 0 to 16
VALIDATE = 823


def optical_digits() -> Data:
    """Return 3,000 training, 823 validation and 1,797 test pictures, (n, 1, 8, 8) in [-1, 1].

    Raises:
        DigestError: the file on disk is not the published one.

    Example:
        >>> optical_digits().test.size
        1797
    """
    source = resources.files(__package__).joinpath(FILE)
    if digest.of_bytes(source.read_bytes()) != FILE_SHA256:
        raise DigestError(
            f"{FILE}: its SHA-256 must be {FILE_SHA256}; the file was changed. Reinstall wieldy."
        )
    with source.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        pixels = {
            part: (stored[f"{part}_images"].astype(np.float32) / (LEVELS / 2) - 1)[:, None]
            for part in ("train", "test")
        }
        labels = {part: stored[f"{part}_labels"].astype(np.int64) for part in ("train", "test")}
    order = rng.generator(0, "optical digits", "validate").permutation(len(pixels["train"]))
    kept, held_out = order[VALIDATE:], order[:VALIDATE]
    return Data(
        (pixels["train"][kept], labels["train"][kept]),
        (pixels["train"][held_out], labels["train"][held_out]),
        (pixels["test"], labels["test"]),
        classes=tuple("0123456789"),
        normalisation=((0.5,), (0.5,)),
    )
