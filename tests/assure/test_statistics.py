"""Intervals and tests of significance, against scipy, against hand calculation, and by their coverage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import softmax

from wieldy.assure.statistics import (
    calibration_error,
    holm,
    mcnemar,
    paired_mean,
    probabilities,
    proportion,
    reliability,
)


@given(total=st.integers(1, 5000), share=st.floats(0, 1))
def test_proportion_is_wilsons_interval(total: int, share: float) -> None:
    k = round(share * total)
    found = proportion(k, total)
    # Wilson 1927: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    p, z = k / total, stats.norm.ppf(0.975)
    middle, spread = p + z * z / (2 * total), z * math.sqrt(p * (1 - p) / total + z * z / (4 * total**2))
    assert found.value == p
    assert found.low == pytest.approx((middle - spread) / (1 + z * z / total), abs=1e-9)
    assert found.high == pytest.approx((middle + spread) / (1 + z * z / total), abs=1e-9)
    assert -1e-12 <= found.low <= p + 1e-12
    assert p - 1e-12 <= found.high <= 1 + 1e-12


def test_a_higher_level_gives_a_wider_interval() -> None:
    narrow, wide = proportion(90, 100, 0.5), proportion(90, 100, 0.99)
    assert wide.low < narrow.low < 0.9 < narrow.high < wide.high
    assert wide.level == 0.99


def two_sided_binomial(k: int, n: int) -> float:
    """The sum over all outcomes that are no likelier than k, of n fair coins."""
    likely = [math.comb(n, i) for i in range(n + 1)]
    return sum(value for value in likely if value <= likely[k]) / 2**n


@given(fixed=st.integers(0, 60), broken=st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test_by_hand(fixed: int, broken: int) -> None:
    assert mcnemar(fixed, broken) == pytest.approx(two_sided_binomial(fixed, fixed + broken))
    assert mcnemar(fixed, broken) == pytest.approx(mcnemar(broken, fixed))


def test_mcnemar_at_the_edge_of_five_per_cent() -> None:
    assert mcnemar(0, 5) == 2 / 32  # two tails of one outcome in 32: not significant
    assert mcnemar(0, 6) == 2 / 64
    assert mcnemar(0, 0) == 1.0


def test_holm_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; the last is raised to 0.06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(p_values=st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_monotone_and_lies_between_the_p_value_and_bonferroni(p_values: list[float]) -> None:
    found = holm(p_values)
    assert all(p <= q <= min(1.0, len(p_values) * p) + 1e-15 for p, q in zip(p_values, found, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert [found[k] for k in order] == sorted(found)


def test_paired_mean_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    inside = 0
    for trial in range(100):
        found = paired_mean(draw.normal(0.3, 1.0, 60), seed=trial)
        inside += found.low <= 0.3 <= found.high
    assert 0.88 <= inside / 100 <= 0.99  # 95 % at 100 trials, and a bootstrap of 60 is a little short


def test_paired_mean_is_close_to_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(2.0, 1.0, 500)
    found, error = paired_mean(values), values.std(ddof=1) / math.sqrt(500)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.01)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.01)


def test_paired_mean_of_equal_differences_has_no_width() -> None:
    found = paired_mean(np.full(10, -0.5))
    assert (found.low, found.value, found.high) == (-0.5, -0.5, -0.5)


def test_paired_mean_is_the_same_again_with_the_same_seed() -> None:
    values = np.random.default_rng(2).normal(size=50)
    assert paired_mean(values, 3) == paired_mean(values, 3) != paired_mean(values, 4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), scale=st.floats(0.01, 1e4))
def test_probabilities_are_scipys_softmax_without_overflow(seed: int, scale: float) -> None:
    logits = (scale * np.random.default_rng(seed).standard_normal((6, 4))).astype(np.float32)
    np.testing.assert_allclose(probabilities(logits), softmax(logits.astype(np.float64), axis=1), atol=1e-15)


def logits_of(chances: list[list[float]]) -> np.ndarray:
    return np.log(np.array(chances)).astype(np.float32)


def test_calibration_error_by_hand() -> None:
    # two bins of four: 0.8, 0.9 sure and both right; 0.6, 0.6 sure and one right
    logits = logits_of([[0.8, 0.2], [0.1, 0.9], [0.6, 0.4], [0.6, 0.4]])
    rows = reliability(logits, np.array([0, 1, 0, 1]), bins=4)
    assert [(row["count"], row["accuracy"]) for row in rows] == [(2, 0.5), (2, 1.0)]
    assert [row["confidence"] for row in rows] == pytest.approx([0.6, 0.85])
    assert calibration_error(rows) == pytest.approx(0.5 * 0.1 + 0.5 * 0.15)


def test_whoever_is_sure_and_right_is_calibrated_and_whoever_is_sure_and_wrong_is_not() -> None:
    logits = np.array([[50, 0], [0, 50]], np.float32)
    assert calibration_error(reliability(logits, np.array([0, 1]))) == pytest.approx(0, abs=1e-12)
    assert calibration_error(reliability(logits, np.array([1, 0]))) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), bins=st.integers(1, 20))
def test_every_example_falls_into_one_bin(seed: int, bins: int) -> None:
    draw = np.random.default_rng(seed)
    logits, targets = draw.normal(0, 2, (40, 5)).astype(np.float32), draw.integers(0, 5, 40)
    rows = reliability(logits, targets, bins)
    assert sum(row["count"] for row in rows) == 40
    assert sum(row["count"] * row["accuracy"] for row in rows) == pytest.approx(
        (logits.argmax(1) == targets).sum()
    )
    assert 0 <= calibration_error(rows) <= 1
