"""The error bound of the kernels: it is that of the theorem, and no order of summation breaks it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wieldy.kernels.contract import SMALLEST, UNIT, Contract
from wieldy.kernels.sparse_conv.reference import CONTRACT as CONV
from wieldy.kernels.sparse_linear.reference import CONTRACT as LINEAR


@pytest.mark.parametrize("contract", [CONV, LINEAR])
@pytest.mark.parametrize("terms", [0, 1, 9, 4608, 65_536, 1_000_000])
def test_the_bound_covers_a_rounding_of_each_term_for_each_that_is_added(contract, terms):  # type: ignore[no-untyped-def]
    found = contract.bound(np.array(terms), np.array(1.0))
    of_the_reference = Fraction(2 * (terms + 2), 2**53)
    if terms < 10_000:
        needed = (1 + Fraction(UNIT)) ** (terms + 2) - 1
    else:
        needed = Fraction((terms + 2) * UNIT) / (1 - Fraction((terms + 2) * UNIT))  # above the power
    assert Fraction(float(found)) >= needed + of_the_reference


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), terms=st.integers(0, 60), spread=st.integers(0, 20))
def test_sums_in_any_order_stay_within_the_bound(seed: int, terms: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    values, x = (
        (rng.normal(size=terms) * 2.0 ** rng.integers(-spread, spread + 1, terms)).astype(np.float32)
        for _ in range(2)
    )
    addends = [*(values * x), *rng.normal(size=2).astype(np.float32)]
    bias, residual = addends[-2:]
    exact = sum(
        (Fraction(float(v)) * Fraction(float(u)) for v, u in zip(values, x, strict=True)), Fraction(0)
    )
    exact += Fraction(float(bias)) + Fraction(float(residual))
    while len(addends) > 1:
        one, other = (addends.pop(rng.integers(len(addends))) for _ in range(2))
        addends.append(np.float32(one + other))
    magnitude = np.abs(values.astype(np.float64) * x).sum() + abs(float(bias)) + abs(float(residual))
    error = abs(Fraction(float(addends[0])) - exact)
    assert error <= Fraction(float(CONV.bound(np.array(terms), np.array(magnitude))))


def test_a_product_that_underflows_is_covered() -> None:
    tiny = np.float32(2.0**-80)
    assert tiny * tiny == 0
    assert Contract("dot", "").bound(np.array(1), np.array(2.0**-160)) >= SMALLEST > 2.0**-160
