"""Levels in blocks of four inputs: what is stored is what was given, and nothing else is read."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wieldy.core.errors import SchemaError
from wieldy.formats import FORMATS
from wieldy.formats.integer import rounded_scales
from wieldy.formats.level_blocks import LevelBlockFormat

NAMES = [name for name, form in FORMATS.items() if isinstance(form, LevelBlockFormat)]
SHAPES = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 11)),
    st.tuples(st.integers(1, 9), st.integers(1, 11), st.integers(1, 3), st.integers(1, 3)),
)


def on_grid(form: LevelBlockFormat, shape: tuple[int, ...], density: float, seed: int) -> np.ndarray:
    """Return an array of levels times scales, whose rows reach the largest level or are zero."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(-form.largest, form.largest + 1, shape) * (rng.random(shape) < density)
    for row in levels.reshape(shape[0], -1):
        if row.any():
            row[np.flatnonzero(row)[0]] = form.largest
    scales = rounded_scales(rng.uniform(1e-3, 1, shape[0])).reshape(-1, *(1,) * (len(shape) - 1))
    return (levels * scales).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
@given(shape=SHAPES, density=st.sampled_from([0, 0.05, 0.3, 1]), seed=st.integers(0, 999))
def test_what_is_stored_comes_back_and_takes_the_bytes_that_were_counted(name, shape, density, seed):  # type: ignore[no-untyped-def]
    form = FORMATS[name]
    array = on_grid(form, shape, density, seed)
    parts = form.encode(array)
    np.testing.assert_array_equal(form.decode(parts, shape), array, strict=True)
    assert sum(part.nbytes for part in parts.values()) == form.byte_count(array)
    again = form.encode(form.decode(parts, shape))
    assert all(again[key].tobytes() == part.tobytes() for key, part in parts.items())


@pytest.mark.parametrize(("name", "most"), [("int8_1x4", 0.05), ("int8_4x4", 0.05)])
def test_a_tenth_of_the_blocks_takes_at_most_a_twentieth_of_the_dense_bytes(name: str, most: float):
    rng = np.random.default_rng(0)
    rows = FORMATS[name].rows
    kept = rng.random((256 // rows, 64, 1, 3, 3)) < 0.1
    mask = np.repeat(np.repeat(kept.transpose(0, 2, 1, 3, 4), 4, axis=2).squeeze(1), rows, axis=0)
    array = on_grid(FORMATS[name], (256, 256, 3, 3), 1, 0) * mask
    array[:, 0, 0, 0] = 0  # every row's largest level must be there
    levels = np.rint(array / np.maximum(np.abs(array).max(axis=(1, 2, 3), keepdims=True), 1e-9) * 127)
    assert FORMATS[name].byte_count(levels.astype(np.float32)) <= most * array.nbytes


def parts_of(name: str) -> tuple[dict[str, Any], tuple[int, ...]]:
    shape = (5, 6, 2, 2)
    return FORMATS[name].encode(on_grid(FORMATS[name], shape, 0.4, 3)), shape


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        (".levels", lambda of: of.astype(np.int16), "levels must be int8"),
        (".levels", lambda of: of[:-1], "add up|levels must be"),
        (".levels", lambda of: of * 0, "one that is not zero"),
        (".counts", lambda of: of.astype(np.int32), "counts must be uint32"),
        (".counts", lambda of: of + np.uint32(1), "add up"),
        (".gaps", lambda of: np.append(of, np.uint8(255)), "gaps must be"),
        (".gaps", lambda of: np.append(of[:-1], np.uint8([255, 200])), "must be below"),
        (".scales", lambda of: of * np.float32(np.nan), "positive and finite"),
        (".scales", lambda of: of[:-1], "scales must be float32"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(name, part, change, words):  # type: ignore[no-untyped-def]
    parts, shape = parts_of(name)
    parts[part] = change(parts[part])
    with pytest.raises(SchemaError, match=words):
        FORMATS[name].decode(parts, shape)


@pytest.mark.parametrize("name", NAMES)
def test_levels_in_what_fills_up_a_block_are_refused(name: str):
    parts, shape = parts_of(name)
    parts[".levels"] = np.where(parts[".levels"] == 0, 1, parts[".levels"]).astype(np.int8)
    with pytest.raises(SchemaError, match="fill up"):
        FORMATS[name].decode(parts, shape)
