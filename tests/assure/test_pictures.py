"""A picture becomes a PNG that others read back, no larger than it must be."""

import base64
import io

import numpy as np
import pytest

from wieldy.assure.pictures import MOST_SIDE, data_uri

Image = pytest.importorskip("PIL.Image")


def decoded(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_every_pixel(channels: int) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (channels, 9, 13))
    found = decoded(data_uri(levels / 255))
    wanted = levels[0] if channels == 1 else levels.transpose(1, 2, 0)
    np.testing.assert_array_equal(found, wanted)


def test_a_large_picture_is_thinned() -> None:
    assert max(decoded(data_uri(np.zeros((3, 500, 200)))).shape[:2]) <= MOST_SIDE


def test_what_lies_outside_is_cut_off() -> None:
    assert decoded(data_uri(np.array([[[-1.0, 2.0]]]))).tolist() == [[0, 255]]
