"""The performance model: what its terms count, how they are fitted, where zeros begin to pay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wieldy.formats import BY_BLOCK
from wieldy.graph.cost_table import CostTable, Work, features, fit_terms, work_of
from wieldy.graph.program import Node, Program, Ref, Spec, Stored

CONV = Work("conv", 64 * 64 * 9, 9, 64, 28 * 28, 2 * 64 * 28 * 28, 64 * 28 * 28, strided=False)


def table(**terms):
    known = {f"{form}/conv": (0.0,) * 6 for form in BY_BLOCK.values()} | {"dense/conv": (0.01, 0.0, 0.0, 0.0)}
    return CostTable(
        "cpu", "avx2", 2, known | {key.replace("_conv", "/conv"): v for key, v in terms.items()}, 0.1
    )


def test_the_work_of_a_strided_convolution_names_all_that_is_moved():
    given_ = {"input": Ref("x"), "weight": Stored("w"), "bias": None, "stride": (2, 2), "padding": (1, 1),
              "dilation": (1, 1), "groups": 1}  # fmt: skip
    node = Node("c", "aten.conv2d.default", given_, "c", (None, 8, 5, 5))
    program = Program({"x": Spec((None, 4, 10, 10))}, (node,), ("c",), {"w": Spec((8, 4, 3, 3))})
    assert work_of(program, node) == Work("conv", 288, 9, 8, 25, 600, 400, strided=True)


@given(density=st.floats(0.01, 1), block=st.sampled_from((1, 4, 8)))
def test_time_with_zeros_falls_with_density_and_never_below_an_empty_layer(density, block):
    rates = table(**{f"{BY_BLOCK[block]}_conv": (0.02, 0.02, 0.001, 0.01, 0.05, 0.003)})
    few, many = (rates.ms(BY_BLOCK[block], CONV, int(kept * CONV.weights)) for kept in (density / 2, density))
    assert rates.ms(BY_BLOCK[block], CONV, 0) <= few <= many


@pytest.mark.parametrize(("slope", "expected"), [(0.02, 0.5), (0.04, 0.25), (0.005, 1.0)])
def test_the_crossover_is_where_both_take_as_long(slope, expected):
    assert table(csr_conv=(0.0, slope, 0.0, 0.0, 0.0, 0.0)).crossover("csr", CONV) == pytest.approx(expected)


def test_zeros_never_pay_where_an_empty_layer_takes_longer():
    assert table(csr_conv=(0.0, 0.0, 0.0, 0.0, 0.0, 1e3)).crossover("csr", CONV) == 0


def test_a_fit_finds_the_terms_that_made_the_times():
    draw = np.random.default_rng(0)
    rows = [features("csr", CONV, int(kept)) * draw.uniform(0.5, 2, 6) for kept in draw.integers(1, 9999, 40)]
    terms = np.array([0.0, 0.02, 0.004, 0.03, 0.05, 0.01])
    found = fit_terms(rows, [float(row @ terms) for row in rows])
    np.testing.assert_allclose(np.stack(rows) @ found, np.stack(rows) @ terms, rtol=1e-6)
    assert min(found) >= 0
