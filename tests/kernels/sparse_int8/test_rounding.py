"""Each rounding model equals the programs of others that round so, ties included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litert_models import Layer, model_of, run

from wieldy.kernels.region.ops import LevelConv
from wieldy.kernels.sparse_int8.reference import sums
from wieldy.kernels.sparse_int8.rounding import MODELS, fixed_point

OFFSET = 128  # from a level to LiteRT's int8
ROUNDS, SIDE, WIDE = 4, 62, 24
CONV = {"BUILTIN_REF": "gemmlowp", "BUILTIN_WITHOUT_DEFAULT_DELEGATES": "ruy", "BUILTIN": "single_even"}
LINEAR = CONV | {"BUILTIN_REF": "single_away"}


def layer_of(rng: np.random.Generator, shape: tuple[int, ...]) -> Layer:
    """Return a layer of 7-bit weights whose scales make many sums end half-way between two levels."""

    def scale() -> float:
        return float(rng.choice([1, 1.25, 1.5]) * 2.0 ** -rng.integers(3, 7))

    return Layer(
        rng.integers(-64, 65, shape).astype(np.int8), rng.integers(-2000, 2000, shape[0]).astype(np.int32),
        np.float32([scale() for _ in range(shape[0])]), scale(), int(rng.integers(-128, 128)),
        scale() * 256, int(rng.integers(-50, 50)),
    )  # fmt: skip


def expected(layer: Layer, accumulated: np.ndarray, model: str) -> np.ndarray:
    """Return int8 results of sums (..., rows)."""
    multipliers = layer.weight_scales.astype(np.float64) * layer.input_scale / layer.output_scale
    rounded = [MODELS[model](accumulated[..., row], factor) for row, factor in enumerate(multipliers)]
    return np.clip(np.stack(rounded, -1) + layer.output_zero, -128, 127).astype(np.int8)


def convolved(layer: Layer, x: np.ndarray) -> np.ndarray:
    """Return our sums (1, height, width, rows) of an int8 image (1, height, width, inputs)."""
    weight = np.ascontiguousarray(layer.weight.transpose(0, 3, 1, 2))
    made_up = (layer.input_zero + OFFSET) * weight.astype(np.int64).sum(axis=(1, 2, 3))
    bias = (layer.bias - made_up).astype(np.int32)
    op = LevelConv("x", "y", weight, bias, np.ones(len(weight), np.float32))
    levels = (x.astype(np.int16) + OFFSET).astype(np.uint8).transpose(0, 3, 1, 2)
    return sums(levels, op).transpose(0, 2, 3, 1)


def compared(resolver: str, linear: bool) -> tuple[int, dict[str, int]]:
    """Return how many outputs there were, and how many of them each model misses."""
    rng = np.random.default_rng(0)
    total, missed = 0, dict.fromkeys(MODELS, 0)
    for _ in range(ROUNDS):
        if linear:
            layer, x = layer_of(rng, (256, 32)), rng.integers(-128, 128, (1024, 32)).astype(np.int8)
            accumulated = (x.astype(np.int64) - layer.input_zero) @ layer.weight.T.astype(np.int64)
            accumulated += layer.bias
        else:
            layer = layer_of(rng, (WIDE * 3, 3, 3, 5))
            x = rng.integers(-128, 128, (1, SIDE + 2, SIDE + 2, 5)).astype(np.int8)
            accumulated = convolved(layer, x)
        found = run(model_of(layer, x.shape, accumulated.shape), x, resolver)
        total += found.size
        for model in MODELS:
            missed[model] += int((found != expected(layer, accumulated, model)).sum())
    return total, missed


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("resolver", list(CONV))
def test_a_million_outputs_of_litert_are_those_of_one_model_and_of_no_other(resolver, linear):  # type: ignore[no-untyped-def]
    pytest.importorskip("ai_edge_litert.interpreter")
    right = (LINEAR if linear else CONV)[resolver]
    total, missed = compared(resolver, linear)
    print(resolver, linear, total, missed)
    assert total >= 10**6
    assert missed[right] == 0
    assert all(count for model, count in missed.items() if model != right)


@given(st.floats(1e-9, 1e6))
def test_a_multiplier_in_fixed_point_is_as_near_as_31_bits_are(multiplier: float):
    whole, shift = fixed_point(multiplier)
    assert abs(whole * 2.0 ** (shift - 31) / multiplier - 1) <= 2.0**-31
    assert 2**30 <= whole < 2**31


@pytest.mark.parametrize("model", list(MODELS))
@given(value=st.integers(-(2**30), 2**30), power=st.integers(0, 20))
def test_every_model_rounds_to_the_nearest_but_for_what_its_steps_lose(model: str, value: int, power: int):
    exact = value * 2.0**-power
    found = int(MODELS[model](np.array([value]), 2.0**-power)[0])
    slack = {
        "single_away": 0.0, "single_even": 2.0**-24 * abs(exact),  # the sum becomes a float32
        "gemmlowp": 0.5 * 2.0 ** -max(power - 1, 0), "ruy": 0.5 * 2.0 ** -max(power - 1, 0),  # two roundings
    }[model]  # fmt: skip
    assert abs(found - exact) <= 0.5 + slack
