"""Sure and right, sure and wrong: scores, temperatures and what the evidence says of both."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from wieldy.assure.calibration import brier_scores, fitted_temperature
from wieldy.assure.statistics import calibration_change, calibration_error, reliability


def drawn(seed: int, count: int = 4000, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: as sure as they are right."""
    rng = np.random.default_rng(seed)
    logits = (2 * rng.normal(size=(count, classes))).astype(np.float32)
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    logits, targets = drawn(0)
    assert fitted_temperature(logits * temperature, targets) == pytest.approx(temperature, rel=0.1)


@given(st.integers(0, 2**31), st.floats(0.1, 10))
def test_no_temperature_fits_better_than_the_fitted_one(seed: int, other: float) -> None:
    logits, targets = drawn(seed, 100)

    def loss(temperature: float) -> float:
        chances = special.log_softmax(logits.astype(np.float64) / temperature, axis=1)
        return float(-chances[np.arange(len(targets)), targets].mean())

    assert loss(fitted_temperature(logits, targets)) <= loss(other) + 1e-6


@given(st.integers(0, 2**31))
def test_the_score_is_the_mean_square_between_chances_and_truth(seed: int) -> None:
    logits, targets = drawn(seed, 20)
    chances = special.softmax(logits.astype(np.float64), axis=1)
    wanted = ((chances - np.eye(4)[targets]) ** 2).sum(axis=1)
    np.testing.assert_allclose(brier_scores(logits, targets), wanted)


def test_growth_is_the_difference_of_both_errors_and_its_interval_holds_it() -> None:
    logits, targets = drawn(0)
    change = calibration_change(logits, 2 * logits, targets)
    errors = [calibration_error(reliability(side, targets)) for side in (logits, 2 * logits)]
    assert change.value == pytest.approx(errors[1] - errors[0])
    assert 0.02 < change.low < change.value < change.high


def test_nothing_grows_between_a_network_and_itself() -> None:
    logits, targets = drawn(0)
    change = calibration_change(logits, logits, targets)
    assert (change.low, change.value, change.high) == (0, 0, 0)
