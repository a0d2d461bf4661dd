"""Blocks of one magnitude: what comes back, what it costs to the byte, and what is refused."""

from dataclasses import replace
from pathlib import Path

import byhand
import numpy as np
import pytest
from forged import parts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from wieldy.core.errors import SchemaError
from wieldy.formats import BY_SHAPE, FORMATS
from wieldy.formats.unified import FREE, PRUNED, UNIFIED, UnifiedFormat
from wieldy.graph.program import Spec
from wieldy.package.read import read
from wieldy.package.save import save

Array = NDArray[np.float32]
Parts = dict[str, NDArray[np.generic]]
PACKED = {name: form for name, form in FORMATS.items() if isinstance(form, UnifiedFormat)}
every_format = pytest.mark.parametrize("name", PACKED)


def structured(shape: tuple[int, ...], form: UnifiedFormat, seed: int) -> Array:
    """Random numbers, of whose blocks about a third are of each kind; made by loops over the matrix."""
    rng = np.random.default_rng(seed)
    array = rng.normal(size=shape).astype(np.float32)
    rows = shape[0] if shape else 1
    matrix = array.reshape(rows, array.size // rows if rows else 0)
    for top in range(0, matrix.shape[0] - form.rows + 1, form.rows):
        for left in range(0, matrix.shape[1] - form.columns + 1, form.columns):
            block = matrix[top : top + form.rows, left : left + form.columns]
            kind = rng.integers(3)
            if kind == UNIFIED:
                block[...] = np.where(block < 0, -abs(block[0, 0]), abs(block[0, 0]))
            elif kind == PRUNED:
                block[...] = 0
    return array


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, Array]:
    name = draw(st.sampled_from(sorted(PACKED)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=19))
    return name, structured(shape, PACKED[name], draw(st.integers(0, 999)))


@settings(max_examples=200, deadline=None)
@given(case=arrays())
def test_a_tensor_comes_back_bit_for_bit(case: tuple[str, Array]) -> None:
    name, array = case
    form = PACKED[name]
    found = form.decode(form.encode(array), array.shape)
    np.testing.assert_array_equal(found.view(np.int32), array.view(np.int32), strict=True)
    assert form.holds(array)


@settings(max_examples=200, deadline=None)
@given(case=arrays())
def test_the_byte_count_is_that_of_the_parts_and_of_the_formula(case: tuple[str, Array]) -> None:
    name, array = case
    form, parts = PACKED[name], PACKED[name].encode(array)
    kinds, size = form.kinds(array), form.rows * form.columns
    unified, free = np.sum(kinds == UNIFIED), np.sum(kinds == FREE)
    rest = array.size - size * len(kinds)
    formula = np.ceil(len(kinds) / 4) + 4 * unified + np.ceil(unified * size / 8) + 4 * (free * size + rest)
    assert form.byte_count(array) == sum(part.nbytes for part in parts.values()) == formula


@settings(max_examples=100, deadline=None)
@given(case=arrays())
def test_what_was_decoded_encodes_to_the_same_bytes(case: tuple[str, Array]) -> None:
    name, array = case
    form = PACKED[name]
    parts = form.encode(array)
    again = form.encode(form.decode(parts, array.shape))
    assert {suffix: part.tobytes() for suffix, part in parts.items()} == {
        suffix: part.tobytes() for suffix, part in again.items()
    }


def test_reference_by_hand() -> None:
    array = np.float32([[1, -1, 0, 0, 5], [1, 1, 0, 0, 6], [2, 3, 4, -4, 7]])
    parts = UnifiedFormat(1, 2).encode(array)
    assert parts[".kinds"].tolist() == [1 | 2 << 2 | 1 << 4 | 2 << 6, 0 | 1 << 2]
    assert parts[".magnitudes"].tolist() == [1, 1, 4]
    assert parts[".signs"].tolist() == [0b100010]
    assert parts[".values"].tolist() == [2, 3, 5, 6, 7]


def test_rows_that_blocks_do_not_reach_come_last() -> None:
    array = np.float32([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert UnifiedFormat(2, 2).encode(array)[".values"].tolist() == [1, 2, 4, 5, 3, 6, 7, 8, 9]


def test_magnitudes_that_differ_in_their_last_bit_are_free() -> None:
    array = np.float32([[0.1, 0.1, -0.1, np.nextafter(np.float32(0.1), np.float32(1))]])
    form = PACKED["unified_1x4"]
    assert form.kinds(array).tolist() == [FREE]
    array[0, 3] = array[0, 0]
    assert form.kinds(array).tolist() == [UNIFIED]


def test_zeros_of_a_pruned_block_lose_their_sign_and_nothing_else_does() -> None:
    array = np.float32([[-0.0, 0.0, -0.0, 0.0, -0.0, 1.0, 2.0, 3.0]])
    form = PACKED["unified_1x4"]
    found = form.decode(form.encode(array), array.shape)
    np.testing.assert_array_equal(found, array)
    assert np.signbit(found).tolist() == [[False] * 4 + [True] + [False] * 3]


def test_all_blocks_of_sixteen_unified_take_a_tenth_of_the_bytes() -> None:
    form = PACKED["unified_4x4"]
    array = np.where(np.random.default_rng(0).random((64, 64)) < 0.5, np.float32(-0.3), np.float32(0.3))
    assert form.byte_count(array) / array.nbytes == (0.25 + 4 + 2) / 64


def test_shapes_have_a_format_each() -> None:
    assert BY_SHAPE == {
        (1, 4): "unified_1x4", (4, 1): "unified_4x1", (4, 4): "unified_4x4", (8, 8): "unified_8x8",
    }  # fmt: skip


@every_format
def test_only_float32_is_held(name: str) -> None:
    assert not PACKED[name].holds(np.zeros((8, 8)))


def sound() -> Parts:
    """Parts of a (10, 9) tensor in blocks of 4 x 4 with a rest; two of each kind at least."""
    array = np.random.default_rng(0).normal(size=(10, 9)).astype(np.float32)
    array[:4, :4] = np.where(array[:4, :4] < 0, -0.5, 0.5)
    array[4:8, 4:8] = 0
    return dict(PACKED["unified_4x4"].encode(array))


@pytest.mark.parametrize(
    ("suffix", "change", "message"),
    [
        (".kinds", lambda part: part[:0], r"\.kinds must be uint8 \(1,\); got uint8 \(0,\)"),
        (".kinds", lambda part: part.astype(np.int8), r"\.kinds must be uint8"),
        (".kinds", lambda part: part[0], r"\.kinds must be uint8 \(1,\)"),
        (".kinds", lambda part: part | np.uint8(0b11), "a kind must be 0, 1 or 2; got 3"),
        (".kinds", lambda part: part & np.uint8(0b11111100), r"\.magnitudes must be float32 \(0,\)"),
        (".magnitudes", lambda part: part[:-1], r"\.magnitudes must be float32 \(1,\); got float32 \(0,\)"),
        (".magnitudes", lambda part: part.astype(np.float64), r"\.magnitudes must be float32"),
        (".magnitudes", lambda part: part[None], r"\.magnitudes must be float32 \(1,\)"),
        (".magnitudes", lambda part: -part, "positive and finite"),
        (".magnitudes", lambda part: 0 * part, "positive and finite"),
        (".magnitudes", lambda part: part * np.float32(np.nan), "positive and finite"),
        (".magnitudes", lambda part: part * np.float32(np.inf), "positive and finite"),
        (".signs", lambda part: part[:-1], r"\.signs must be uint8 \(2,\)"),
        (".signs", lambda part: part.astype(np.uint16), r"\.signs must be uint8"),
        (".values", lambda part: part[:-1], r"\.values must be float32 \(58,\)"),
        (".values", lambda part: np.append(part, np.float32(1)), r"\.values must be float32 \(58,\)"),
        (".values", lambda part: part.astype(np.float16), r"\.values must be float32"),
        (".values", lambda part: part.reshape(2, -1), r"\.values must be float32 \(58,\)"),
        (".values", lambda part: np.ones_like(part), "a free block must differ in its magnitudes"),
        (".values", lambda part: np.zeros_like(part), "a free block must differ in its magnitudes"),
    ],
)
def test_rejects_parts_that_contradict_each_other(suffix, change, message) -> None:  # type: ignore[no-untyped-def]
    parts = sound()
    parts[suffix] = change(parts[suffix])
    with pytest.raises(SchemaError, match=f"unified: .*{message}"):
        PACKED["unified_4x4"].decode(parts, (10, 9))


def test_rejects_bits_beyond_the_last_block() -> None:
    form = UnifiedFormat(1, 3)
    parts = form.encode(np.float32([[1, 1, 1]]))
    for suffix in (".kinds", ".signs"):
        with pytest.raises(SchemaError, match=rf"fill up the last byte of \{suffix} must be 0"):
            form.decode(parts | {suffix: parts[suffix] | np.uint8(0x80)}, (1, 3))


def test_rejects_more_elements_than_kernels_can_count() -> None:
    with pytest.raises(SchemaError, match=r"2,147,483,647 elements; \(65536, 32768\) has 2,147,483,648"):
        PACKED["unified_8x8"].decode(sound(), (2**16, 2**15))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_bytes_at_random_are_refused_or_decode_to_what_encodes_to_them(data: st.DataObject) -> None:
    form, shape = UnifiedFormat(1, 2), (2, 5)
    numbers = st.sampled_from([0.0, 1.0, -1.0, 2.0])
    parts: Parts = {
        ".kinds": data.draw(hnp.arrays(np.uint8, 1)),
        ".magnitudes": data.draw(hnp.arrays(np.float32, st.integers(0, 4), elements=numbers)),
        ".signs": data.draw(hnp.arrays(np.uint8, st.integers(0, 1))),
        ".values": data.draw(hnp.arrays(np.float32, st.integers(2, 10), elements=numbers)),
    }
    try:
        found = form.decode(parts, shape)
    except SchemaError:
        return
    assert found.shape == shape
    again = form.encode(found)
    assert all(np.array_equal(again[suffix], parts[suffix]) for suffix in form.suffixes)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of one tensor of (10, 9), packed."""
    form = PACKED["unified_4x4"]
    array = form.decode(sound(), (10, 9))
    program = replace(byhand.adder().program, tensors={"scale": Spec(array.shape, "float32")})
    network = byhand.ByHand(program, {"scale": array})
    return save(network, tmp_path / "net.wieldy", formats={"scale": "unified_4x4"})


def test_a_package_gives_its_packed_tensor_back_and_counts_its_zeros(package: Path) -> None:
    found = read(package)
    np.testing.assert_array_equal(found.tensors["scale"], PACKED["unified_4x4"].decode(sound(), (10, 9)))
    assert found.zeros_left_out() == 16
    again = save(found, package.parent / "again.wieldy")
    assert again.read_bytes() == package.read_bytes()


def test_a_package_whose_parts_contradict_each_other_is_refused_by_name(package: Path) -> None:
    parts = parts_of(package.read_bytes())
    parts.tensors["scale.kinds"] = np.zeros_like(parts.tensors["scale.kinds"])
    parts.write(package)
    with pytest.raises(
        SchemaError, match=r"net\.wieldy: scale: unified: \.magnitudes must be float32 \(0,\)"
    ):
        read(package)
