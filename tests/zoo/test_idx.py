import gzip
import struct
import zlib

import numpy as np
import pytest

from wieldy.core import digest
from wieldy.core.errors import DataError
from wieldy.zoo.data.idx import read_idx

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx(array, kind=0x08, zero=0):
    return struct.pack(f">HBB{array.ndim}I", zero, kind, array.ndim, *array.shape) + array.tobytes()


def write(path, content):
    """Pack contents and return their digest, so that the digest cannot be what is at fault."""
    path.write_bytes(gzip.compress(content))
    return digest.of_bytes(content)


@pytest.mark.parametrize("array", [PIXELS, PIXELS[:0], PIXELS.reshape(-1)])
def test_an_array_comes_back(tmp_path, array):
    sha = write(tmp_path / "a.gz", idx(array))
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz", sha), array, strict=True)


def test_how_it_was_packed_does_not_count(tmp_path):
    content = idx(PIXELS)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content[:9], 1, mtime=9) + gzip.compress(content[9:], 9))
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz", digest.of_bytes(content)), PIXELS)


def test_other_contents_are_refused(tmp_path):
    write(tmp_path / "a.gz", idx(PIXELS + 1))
    with pytest.raises(DataError, match=r"a.gz: its contents are not the published ones"):
        read_idx(tmp_path / "a.gz", digest.of_bytes(idx(PIXELS)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is too short"),
        (b"\0\0\x08", "is too short"),
        (b"\0\0\x08\x03\0\0\0\1", "is too short"),
        (idx(PIXELS, kind=0x0D), "is no IDX file of unsigned bytes"),
        (idx(PIXELS, zero=1), "is no IDX file of unsigned bytes"),
        (idx(PIXELS)[:-1], "must hold 24 bytes after its header; got 23"),
        (idx(PIXELS) + b"\0", "must hold 24 bytes after its header; got 25"),
        (struct.pack(">HBB4I", 0, 8, 4, *[2**32 - 1] * 4), "bytes after its header; got 0"),
    ],
)
def test_a_broken_container_is_refused_even_where_its_digest_fits(tmp_path, content, message):
    sha = write(tmp_path / "a.gz", content)
    with pytest.raises(DataError, match=f"a.gz: .*{message}"):
        read_idx(tmp_path / "a.gz", sha)


RANDOM = np.random.default_rng(0).integers(0, 256, (50, 8, 8), np.uint8)
PACKED = gzip.compress(idx(RANDOM), mtime=0)  # no time: its bytes are in a test's name


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip", idx(PIXELS), PACKED[:20], PACKED[:-4], PACKED[:10] + b"\xff" * 40 + PACKED[50:]],
)
def test_what_cannot_be_unpacked_is_refused(tmp_path, data):
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(DataError, match=r"a.gz: "):
        read_idx(tmp_path / "a.gz", "0" * 64)


def test_the_broken_stream_above_is_one_that_zlib_itself_complains_of():
    with pytest.raises(zlib.error):
        gzip.decompress(PACKED[:10] + b"\xff" * 40 + PACKED[50:])


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none.gz: .*No such file"):
        read_idx(tmp_path / "none.gz", "0" * 64)
