import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wieldy.core import digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_file_s_digest_is_that_of_its_bytes(tmp_path):
    data = bytes(range(256)) * (digest.CHUNK_BYTES // 128)  # more than one piece
    (tmp_path / "a").write_bytes(data)
    assert digest.of_file(tmp_path / "a") == digest.of_bytes(data) == hashlib.sha256(data).hexdigest()


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_the_order_of_keys_does_not_count(value):
    backwards = dict(reversed(value.items()))
    assert digest.of_value(value) == digest.of_value(backwards)


def test_nan_has_no_digest():
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest.of_value({"a": float("nan")})


def test_arrays_differ_by_name_dtype_shape_and_contents():
    base = np.arange(6, dtype=np.float32)
    others = [
        {"b": base},
        {"a": base.astype(np.float64)},
        {"a": base.reshape(2, 3)},
        {"a": base + 1},
        {"a": base, "b": base},
        {"a": base[:1]},
        {"a": base[0]},  # a scalar is no array of one element
        {},
    ]
    found = [digest.of_arrays(arrays) for arrays in [{"a": base}, *others]]
    assert len(set(found)) == len(found)


def test_neither_order_nor_memory_layout_of_arrays_counts():
    grid = np.arange(6, dtype=np.int64).reshape(2, 3)
    first = {"a": grid, "b": np.ones(2)}
    second = {"b": np.ones(2), "a": np.asfortranarray(grid)}
    assert digest.of_arrays(first) == digest.of_arrays(second)
