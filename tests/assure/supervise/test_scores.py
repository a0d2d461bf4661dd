"""Scores by their closed form; AUROC against scipy and by pairs; its change with an interval that covers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from scipy.special import softmax

from wieldy.assure.supervise.scores import SCORES, auroc, auroc_change, energy, max_logit, max_softmax

LOGITS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-30, 30, width=32)
)
FEW = st.lists(st.integers(-3, 3), min_size=1, max_size=30).map(
    lambda x: np.array(x, np.float64)
)  # many ties


@given(logits=LOGITS)
def test_scores_are_their_formulas(logits: np.ndarray) -> None:
    wide = logits.astype(np.float64)
    np.testing.assert_allclose(max_softmax(logits), -softmax(wide, axis=1).max(axis=1))
    np.testing.assert_allclose(
        energy(logits), [-math.log(sum(map(math.exp, row))) for row in wide], atol=1e-9
    )
    np.testing.assert_array_equal(max_logit(logits), [-max(row) for row in wide])


@given(logits=LOGITS, temperature=st.floats(0.1, 10))
def test_energy_lies_between_the_largest_logit_and_what_equal_logits_add(
    logits: np.ndarray, temperature: float
) -> None:
    found, most = energy(logits, temperature), temperature * math.log(logits.shape[1])
    assert (found <= max_logit(logits) + 1e-9).all()
    assert (found >= max_logit(logits) - most - 1e-9).all()


@given(logits=LOGITS, shift=st.floats(-20, 20))
def test_softmax_does_not_see_a_shift_that_energy_and_logit_follow(logits: np.ndarray, shift: float) -> None:
    moved = (logits + np.float32(shift)).astype(np.float32)
    np.testing.assert_allclose(max_softmax(moved), max_softmax(logits), atol=1e-4)
    np.testing.assert_allclose(energy(moved), energy(logits) - shift, atol=1e-4)
    np.testing.assert_allclose(max_logit(moved), max_logit(logits) - shift, atol=1e-4)


def test_what_a_network_is_surer_of_looks_less_foreign() -> None:
    for score in SCORES.values():
        sure, unsure = score(np.array([[9, 0, 0], [1, 0, 0]], np.float32))
        assert sure < unsure


def test_large_logits_stay_finite() -> None:
    for score in SCORES.values():
        assert np.isfinite(score(np.array([[3e38, -3e38], [-3e38, -3e38]], np.float32))).all()


@given(inside=FEW, outside=FEW)
def test_auroc_is_the_share_of_pairs_with_ties_counted_half(inside: np.ndarray, outside: np.ndarray) -> None:
    pairs = [1.0 if b > a else 0.5 if b == a else 0.0 for a in inside for b in outside]
    assert auroc(inside, outside) == pytest.approx(np.mean(pairs))


@pytest.mark.oracle
@given(inside=FEW, outside=FEW)
def test_auroc_is_mann_whitneys_statistic(inside: np.ndarray, outside: np.ndarray) -> None:
    found = stats.mannwhitneyu(outside, inside, method="asymptotic").statistic
    assert auroc(inside, outside) == pytest.approx(found / (len(inside) * len(outside)))


@pytest.mark.oracle
def test_auroc_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(0)
    inside, outside = draw.normal(size=300), draw.normal(0.7, 2, size=200).round(1)
    labels = np.repeat([0, 1], [300, 200])
    expected = metrics.roc_auc_score(labels, np.concatenate([inside, outside]))
    assert auroc(inside, outside) == pytest.approx(expected)


@given(inside=FEW, outside=FEW, scale=st.floats(0.01, 5))
def test_auroc_sees_order_alone(inside: np.ndarray, outside: np.ndarray, scale: float) -> None:
    value = auroc(inside, outside)
    assert auroc(np.exp(scale * inside), np.exp(scale * outside)) == pytest.approx(value)
    assert auroc(outside, inside) == pytest.approx(1 - value)
    assert auroc(-inside, -outside) == pytest.approx(1 - value)
    assert auroc(inside, inside) == pytest.approx(0.5)
    assert auroc(inside, inside + 7) == 1


@given(inside=FEW, outside=FEW, other=FEW)
def test_the_change_is_the_difference_of_both_and_nothing_for_one_network(
    inside: np.ndarray, outside: np.ndarray, other: np.ndarray
) -> None:
    same = auroc_change((inside, outside), (inside, outside))
    assert (same.low, same.value, same.high) == (0, 0, 0)
    after = np.resize(other, len(outside))
    found = auroc_change((inside, outside), (inside, after))
    assert found.value == pytest.approx(auroc(inside, after) - auroc(inside, outside))
    assert -1 <= found.low <= found.high <= 1


def drawn(draw: np.random.Generator, size: int) -> tuple[np.ndarray, ...]:
    """Scores of two networks that see the same examples, the second with some noise of its own."""
    inside, outside = draw.normal(size=size), draw.normal(1, size=size)
    return inside, outside, inside + draw.normal(0, 0.7, size), outside + draw.normal(0, 0.7, size)


def test_resampling_examples_one_by_one_gives_the_same_interval() -> None:
    inside, outside, inside_after, outside_after = drawn(np.random.default_rng(0), 80)
    draw, changes = np.random.default_rng(1), []
    for _ in range(2000):
        i, j = draw.integers(0, 80, 80), draw.integers(0, 80, 80)
        changes.append(auroc(inside_after[i], outside_after[j]) - auroc(inside[i], outside[j]))
    found = auroc_change((inside, outside), (inside_after, outside_after))
    low, high = np.quantile(changes, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)


def test_the_interval_holds_the_true_change_as_often_as_it_says() -> None:
    # AUROC of N(0, s^2) against N(1, s^2) is Phi(1 / (s sqrt 2))
    truth = stats.norm.cdf(1 / math.sqrt(2 * 1.49)) - stats.norm.cdf(1 / math.sqrt(2))
    draw, held, rounds = np.random.default_rng(2), 0, 150
    for k in range(rounds):
        inside, outside, *after = drawn(draw, 60)
        found = auroc_change((inside, outside), (after[0], after[1]), seed=k)
        held += found.low <= truth <= found.high
    assert 0.88 <= held / rounds <= 0.995


def test_a_seed_is_an_interval_and_a_level_is_its_width() -> None:
    inside, outside, *after = drawn(np.random.default_rng(3), 100)
    one, again, other = (auroc_change((inside, outside), (after[0], after[1]), seed) for seed in (0, 0, 1))
    assert one == again != other
    narrow = auroc_change((inside, outside), (after[0], after[1]), level=0.5)
    assert one.low < narrow.low < narrow.high < one.high
    assert (one.level, narrow.level) == (0.95, 0.5)
