"""Sparse formats: what comes back, what it costs to the byte, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import sparse

from wieldy.core.errors import SchemaError
from wieldy.formats import FORMATS
from wieldy.formats.sparse import GOES_ON, SparseFormat, block_rows, decode_gaps, encode_gaps, expand

SPARSE = {name: form for name, form in FORMATS.items() if isinstance(form, SparseFormat)}
Array = NDArray[np.float32]


def random_tensor(shape: tuple[int, ...], density: float, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) * (rng.random(shape) < density)).astype(np.float32)


@st.composite
def tensors(draw: st.DrawFn) -> Array:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=19))
    return random_tensor(shape, draw(st.sampled_from([0, 0.02, 0.3, 1])), draw(st.integers(0, 99)))


def in_float16(array: Array) -> Array:
    return array.astype(np.float16).astype(np.float32)


@settings(max_examples=200, deadline=None)
@given(array=tensors(), name=st.sampled_from(sorted(SPARSE)))
def test_a_tensor_comes_back_bit_for_bit_rounded_to_what_the_format_holds(array: Array, name: str) -> None:
    form = SPARSE[name]
    found = form.decode(form.encode(array), array.shape)
    np.testing.assert_array_equal(found, array if form.dtype == "float32" else in_float16(array), strict=True)


@settings(max_examples=200, deadline=None)
@given(array=tensors(), name=st.sampled_from(sorted(SPARSE)))
def test_the_byte_count_is_that_of_the_parts(array: Array, name: str) -> None:
    form = SPARSE[name]
    assert form.byte_count(array) == sum(part.nbytes for part in form.encode(array).values())


@settings(max_examples=100, deadline=None)
@given(array=tensors(), name=st.sampled_from(sorted(SPARSE)))
def test_what_was_decoded_encodes_to_the_same_bytes(array: Array, name: str) -> None:
    form = SPARSE[name]
    parts = form.encode(array)
    again = form.encode(form.decode(parts, array.shape))
    assert {name: part.tobytes() for name, part in parts.items()} == {
        name: part.tobytes() for name, part in again.items()
    }


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), rows=st.integers(1, 20), columns=st.integers(1, 40))
def test_rows_are_scipys_csr(seed: int, rows: int, columns: int) -> None:
    array = random_tensor((rows, columns), 0.2, seed)
    ours, theirs = block_rows(array), sparse.csr_array(array)
    np.testing.assert_array_equal(ours.starts, theirs.indptr)
    np.testing.assert_array_equal(ours.columns, theirs.indices)
    np.testing.assert_array_equal(ours.values[:, 0], theirs.data)
    assert ours.density == pytest.approx(theirs.nnz / array.size)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), blocks=st.integers(1, 5), block=st.sampled_from([4, 8]))
def test_block_rows_are_scipys_bsr(seed: int, blocks: int, block: int) -> None:
    array = random_tensor((blocks * block, 30), 0.05, seed)
    ours, theirs = block_rows(array, block), sparse.bsr_array(array, blocksize=(block, 1))
    theirs.sort_indices()
    np.testing.assert_array_equal(ours.starts, theirs.indptr)
    np.testing.assert_array_equal(ours.columns, theirs.indices)
    np.testing.assert_array_equal(ours.values, theirs.data[:, :, 0])


@settings(max_examples=100, deadline=None)
@given(numbers=st.lists(st.sampled_from([0, 1, 253, 254, 255, 256, 509, 510, 511, 100_000])))
def test_gaps_of_any_size_come_back_and_take_a_byte_for_each_255(numbers: list[int]) -> None:
    gaps = np.array(numbers, np.int64)
    stream = encode_gaps(gaps)
    np.testing.assert_array_equal(decode_gaps(stream), gaps)
    assert len(stream) == sum(number // GOES_ON + 1 for number in numbers)


@pytest.mark.parametrize(("name", "share"), [("csr", 0.20), ("csr_f16", 0.12), ("block_8x1", 0.20)])
def test_a_tenth_of_the_weights_takes_a_tenth_of_the_bytes_and_little_more(name: str, share: float) -> None:
    array = random_tensor((64, 64, 3, 3), 0.1)
    if SPARSE[name].block > 1:
        pattern = np.random.default_rng(0).random((8, 1, 64, 3, 3)) < 0.1
        array = (np.ones((8, 8, 64, 3, 3)) * pattern).reshape(64, 64, 3, 3).astype(np.float32)
    assert SPARSE[name].byte_count(array) <= share * array.nbytes


def test_a_last_block_that_is_not_full_is_filled_up_with_zeros() -> None:
    array = np.ones((5, 2), np.float32)
    rows = block_rows(array, 4)
    assert rows.values.tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]]
    np.testing.assert_array_equal(expand(rows), array)


def test_empty_rows_and_tensors_of_zeros_keep_nothing() -> None:
    array = np.zeros((6, 4), np.float32)
    array[3, 2] = 5
    assert np.diff(block_rows(array).starts).tolist() == [0, 0, 0, 1, 0, 0]
    assert block_rows(np.zeros((6, 4), np.float32)).values.shape == (0, 1)


def test_rejects_a_value_that_float16_cannot_hold() -> None:
    with pytest.raises(SchemaError, match=r"up to 65504; got 70000\. Store float32"):
        SPARSE["csr_f16"].encode(np.array([[7e4]], np.float32))


def test_rejects_more_elements_than_kernels_can_count() -> None:
    huge = np.broadcast_to(np.float32(0), (2**16, 2**15))
    with pytest.raises(SchemaError, match=r"2,147,483,647 elements; got 2,147,483,648"):
        block_rows(huge)


def sound() -> dict[str, NDArray[np.generic]]:
    return dict(SPARSE["block_4x1"].encode(random_tensor((6, 10), 0.3)))


def without_last(part: NDArray[np.generic]) -> NDArray[np.generic]:
    return part[:-1]


@pytest.mark.parametrize(
    ("suffix", "change", "message"),
    [
        (".values", without_last, "add up to the kept columns"),
        (".values", lambda part: part[:, :-1], r"values must be float32 \(kept, 4\)"),
        (".values", lambda part: part.astype(np.float64), "values must be float32"),
        (".values", lambda part: np.float32(1), "values must be float32"),
        (".values", lambda part: np.ones_like(part), "fill up the last block must be zero"),
        (".values", lambda part: np.zeros_like(part), "must hold a value that is not zero"),
        (".counts", without_last, r"counts must be uint32 \(2,\)"),
        (".counts", lambda part: part + np.uint32(1), "add up to the kept columns"),
        (".counts", lambda part: part.astype(np.int32), "counts must be uint32"),
        (".counts", lambda part: np.array([2**32 - 1, 2**32 - 1], np.uint32), "add up to the kept columns"),
        (".gaps", without_last, "one number for each kept column"),
        (".gaps", lambda part: np.append(part, np.uint8(GOES_ON)), "one number for each kept column"),
        (".gaps", lambda part: part.astype(np.int8), "gaps must be uint8"),
        (".gaps", lambda part: part + np.uint8(3), "a column must be below 10"),
    ],
)
def test_rejects_parts_that_contradict_each_other(suffix, change, message) -> None:  # type: ignore[no-untyped-def]
    parts = sound()
    parts[suffix] = change(parts[suffix])
    with pytest.raises(SchemaError, match=message):
        SPARSE["block_4x1"].decode(parts, (6, 10))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_bytes_at_random_are_refused_or_decode_to_a_tensor_of_the_shape(data: st.DataObject) -> None:
    form = SPARSE["csr"]
    counts = data.draw(hnp.arrays(np.uint32, 3, elements=st.integers(0, 4)))
    kept = data.draw(st.sampled_from([int(counts.sum()), 2]))
    parts = {
        ".values": np.ones((kept, 1), np.float32),
        ".counts": counts,
        ".gaps": data.draw(
            hnp.arrays(np.uint8, st.integers(0, 14), elements=st.sampled_from([0, 1, 2, 255]))
        ),
    }
    try:
        found = form.decode(parts, (3, 5))
    except SchemaError:
        return
    assert found.shape == (3, 5)
    assert np.count_nonzero(found) == kept
