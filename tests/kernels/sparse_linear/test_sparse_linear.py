"""The sparse linear layer: every variant against the reference within its contract, and against numpy."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_cases import GUARD, Array, every_variant, guarded, needs_kernels, sparse_normal

from wieldy.formats.sparse import BlockRows, block_rows, expand
from wieldy.kernels.native import native
from wieldy.kernels.sparse_linear import call, reference
from wieldy.kernels.sparse_linear.plan import plan_linear

pytestmark = [needs_kernels, every_variant]
every_block = pytest.mark.parametrize("block", [1, 4, 8])
NO_CLAMP = (-np.inf, np.inf)


@dataclass(frozen=True)
class Layer:
    x: Array
    rows: BlockRows
    bias: Array
    clamp: tuple[float, float] = NO_CLAMP

    @property
    def arrays(self) -> tuple[Array, ...]:
        return self.x, self.rows.starts, self.rows.columns, self.rows.values, self.bias

    @property
    def limits(self) -> dict[str, float]:
        return dict(zip(("low", "high"), self.clamp, strict=True))


def random_layer(seed, examples, inputs, outputs, block, density, clamp=NO_CLAMP) -> Layer:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, inputs)).astype(np.float32)
    weight = sparse_normal(rng, (outputs, inputs), density)
    return Layer(x, block_rows(weight, block), rng.normal(size=outputs).astype(np.float32), clamp)


def run(layer: Layer, variant: str, threads: int = 1) -> Array:
    """Run between canaries."""
    plan = plan_linear(*layer.arrays[1:], inputs=layer.x.shape[1], threads=threads)
    out = np.full((len(layer.x), len(layer.bias)), np.nan, np.float32)
    read = [guarded(array) for array in (layer.x, *plan.constants())]
    found, around = guarded(out)
    before = [whole.tobytes() for _, whole in read]
    for view, _ in read:
        view.flags.writeable = False
    native().run_linear(
        *(view for view, _ in read), found, *layer.clamp, layer.rows.block, plan.wide, variant, threads
    )
    assert [whole.tobytes() for _, whole in read] == before, "the kernel wrote to what it reads"
    assert np.isnan([around[:GUARD], around[-GUARD:]]).all(), "the kernel wrote past its output"
    return found


def assert_keeps_its_contract(found: Array, layer: Layer) -> None:
    expected = reference.sparse_linear(*layer.arrays, **layer.limits)
    excess = np.abs(found.astype(np.float64) - expected) - reference.error_bound(*layer.arrays)
    assert (excess <= 0).all(), f"{(excess > 0).sum()} results are off, the worst by {excess.max():.3g}"


@every_block
def test_any_shape_is_within_the_contract_of_the_reference(variant, block):  # type: ignore[no-untyped-def]
    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        seed=st.integers(0, 2**32),
        examples=st.integers(1, 5),
        inputs=st.integers(1, 90),
        outputs=st.integers(1, 40),
        density=st.sampled_from([0, 0.02, 0.2, 0.6, 1]),
        clamp=st.sampled_from([NO_CLAMP, (0.0, np.inf), (-0.3, 0.7)]),
        threads=st.integers(1, 3),
    )
    def check(seed, examples, inputs, outputs, density, clamp, threads) -> None:  # type: ignore[no-untyped-def]
        layer = random_layer(seed, examples, inputs, outputs, block, density, clamp)
        found = run(layer, variant, threads)
        assert_keeps_its_contract(found, layer)
        named = call.sparse_linear(*layer.arrays, **layer.limits, variant=variant, threads=threads)
        np.testing.assert_array_equal(named, found, strict=True)

    check()


@every_block
@pytest.mark.parametrize("inputs", [2**16 - 1, 2**16, 2**16 + 1, 100_003])
def test_columns_past_two_bytes_keep_the_contract(variant, block, inputs):  # type: ignore[no-untyped-def]
    layer = random_layer(0, 2, inputs, 11, block, 0.01)
    assert layer.rows.columns.max() > 60_000
    for threads in (1, 2):
        assert_keeps_its_contract(run(layer, variant, threads), layer)


@every_block
def test_it_is_the_dense_product_of_numpy(variant, block):  # type: ignore[no-untyped-def]
    layer = random_layer(1, 3, 200, 37, block, 0.3)
    expected = layer.x @ expand(layer.rows).T + layer.bias
    np.testing.assert_allclose(run(layer, variant), expected, rtol=1e-4, atol=1e-4)


@every_block
def test_a_layer_of_zeros_gives_its_bias(variant, block):  # type: ignore[no-untyped-def]
    layer = random_layer(2, 3, 7, 13, block, 0)
    np.testing.assert_array_equal(run(layer, variant, 2), np.broadcast_to(layer.bias, (3, 13)))


@every_block
def test_no_examples_give_no_results(variant, block):  # type: ignore[no-untyped-def]
    assert call.sparse_linear(*random_layer(3, 0, 7, 13, block, 0.5).arrays, variant=variant).shape == (0, 13)


@every_block
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("inputs", [5, 60])
def test_what_is_not_finite_reaches_exactly_what_its_kept_weights_reach(variant, block, value, inputs):  # type: ignore[no-untyped-def]
    layer = random_layer(4, 4, inputs, 21, block, 0.1, (-1.0, 1.0))
    layer.x[1, layer.rows.columns[0]] = value
    layer.rows.values[-1, 0] = value
    with np.errstate(invalid="ignore"):
        expected = reference.sparse_linear(*layer.arrays, **layer.limits)
    found = run(layer, variant)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
