import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wieldy.core import rng
from wieldy.core.errors import ConfigError

SEEDS = st.integers(0, rng.MAX_SEED - 1)


def test_derived_seeds_are_pinned():  # sha256(b"0\x1ffit\x1f3")[:8], little-endian, shifted right by one
    assert rng.derive(0, "fit", 3) == 7794933547531395665


@given(SEEDS, st.lists(st.text(max_size=5), max_size=3))
def test_a_derived_seed_is_a_63_bit_number_that_repeats(seed, names):
    found = rng.derive(seed, *names)
    assert found == rng.derive(seed, *names)
    assert 0 <= found < 2**63


@given(SEEDS, SEEDS)
def test_other_seeds_and_names_give_other_numbers(first, second):
    assert (rng.derive(first, "a") == rng.derive(second, "a")) == (first == second)
    assert rng.derive(first, "a") != rng.derive(first, "b") != rng.derive(first, "b", "a")


def test_the_order_of_names_counts():
    assert rng.derive(1, "a", "b") != rng.derive(1, "b", "a") != rng.derive(1, "ab")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_named(seed):
    with pytest.raises(ConfigError, match=rf"seed: .*{seed}"):
        rng.derive(seed)


def test_the_same_purpose_draws_the_same_numbers():
    first, again, other = (rng.generator(5, name).random(4) for name in ("x", "x", "y"))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
