"""Whole numbers with scales: exact where the format says so, refused elsewhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from wieldy.core.errors import SchemaError
from wieldy.formats import FORMATS
from wieldy.formats.integer import SCALE_BITS, IntegerFormat, rounded_scales
from wieldy.methods.quantize.integer import rounded_weight

INTEGER = {name: form for name, form in FORMATS.items() if isinstance(form, IntegerFormat)}
Array = NDArray[np.float32]
every_format = pytest.mark.parametrize("name", INTEGER)


@st.composite
def weights(draw: st.DrawFn) -> Array:
    """Weights of any shape with rows; some rows are zero, some large, some tiny."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=9))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    magnitude = 10.0 ** rng.integers(-6, 5, shape[0]) * (rng.random(shape[0]) < 0.9)
    return (rng.normal(size=shape) * magnitude.reshape(-1, *(1,) * (len(shape) - 1))).astype(np.float32)


@every_format
@settings(max_examples=200, deadline=None)
@given(weight=weights())
def test_a_rounded_weight_lies_on_the_grid_and_comes_back_bit_for_bit(name: str, weight: Array) -> None:
    form = INTEGER[name]
    rounded = rounded_weight(weight, form)
    assert form.holds(rounded)
    parts = form.encode(rounded)
    np.testing.assert_array_equal(form.decode(parts, rounded.shape), rounded, strict=True)
    again = form.encode(form.decode(parts, rounded.shape))
    assert {suffix: part.tobytes() for suffix, part in parts.items()} == {
        suffix: part.tobytes() for suffix, part in again.items()
    }
    assert form.byte_count(rounded) == sum(part.nbytes for part in parts.values())


@every_format
@settings(max_examples=100, deadline=None)
@given(weight=weights())
def test_rounding_is_off_by_half_a_step_and_what_the_scale_was_rounded_by(name: str, weight: Array) -> None:
    form = INTEGER[name]
    top = np.abs(weight.reshape(len(weight), -1)).max(axis=1).astype(np.float64)
    step = (top / form.largest * (1 + 2.0 ** (2 - SCALE_BITS))).reshape(-1, *(1,) * (weight.ndim - 1))
    apart = np.abs(rounded_weight(weight, form).astype(np.float64) - weight)
    assert (apart <= step / 2 * (1 + 1e-6)).all()


@settings(max_examples=200, deadline=None)
@given(scale=st.floats(1e-30, 1e30))
def test_a_rounded_scale_is_no_smaller_and_times_a_level_exact(scale: float) -> None:
    (rounded,) = rounded_scales(np.array([scale]))
    assert scale <= float(rounded) <= scale * (1 + 2.0 ** (1 - SCALE_BITS))
    levels = np.arange(-127, 128)
    assert np.array_equal(levels.astype(np.float32) * rounded, levels * np.float64(rounded))


@every_format
def test_numbers_off_the_grid_are_refused(name: str) -> None:
    form = INTEGER[name]
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert not form.holds(weight)
    with pytest.raises(SchemaError, match="Quantize the network first"):
        form.encode(weight)


def test_eight_bits_do_not_fit_seven() -> None:
    rounded = rounded_weight(
        np.random.default_rng(0).normal(size=(4, 30)).astype(np.float32), FORMATS["int8"]
    )
    assert not FORMATS["int7"].holds(rounded)


def sound() -> dict[str, NDArray[np.generic]]:
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    return FORMATS["int8"].encode(rounded_weight(weight, FORMATS["int8"]))


DAMAGE = {
    "levels of another dtype": ({".levels": np.ones((4, 3), np.int16)}, "must be int8"),
    "levels of another shape": ({".levels": np.ones((3, 4), np.int8)}, "must be int8"),
    "a level too many": ({".levels": np.full((4, 3), -128, np.int8)}, "largest level must be 127"),
    "a largest level too small": ({".levels": np.full((4, 3), 64, np.int8)}, "largest level must be 127"),
    "scales of another dtype": ({".scales": np.ones(4)}, "must be float32"),
    "scales of another shape": ({".scales": np.ones(3, np.float32)}, "must be float32"),
    "a scale of zero": ({".scales": np.zeros(4, np.float32)}, "positive and finite"),
    "a negative scale": ({".scales": -np.ones(4, np.float32)}, "positive and finite"),
    "a scale that is not finite": ({".scales": np.full(4, np.nan, np.float32)}, "positive and finite"),
    "a scale that overflows": ({".scales": np.full(4, 3e38, np.float32)}, "largest level"),
    "a scale of too many bits": ({".scales": np.full(4, 1 + 2.0**-20, np.float32)}, "significant bits"),
}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_parts_are_refused(name: str) -> None:
    parts, message = DAMAGE[name]
    with pytest.raises(SchemaError, match=message):
        FORMATS["int8"].decode(sound() | parts, (4, 3))
