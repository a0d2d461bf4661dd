"""Which layers run by their zeros."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wieldy.formats import BY_BLOCK
from wieldy.graph.cost_table import CostTable
from wieldy.graph.program import Node, Program, Ref, Spec, Stored
from wieldy.runtime.choose import FOREIGN_GAIN, choose, kept_values, predicted_ms
from wieldy.runtime.costs import cost_table


def chain(depth, channels=64, side=28):
    """Equal 3x3 convolutions, one after the other."""
    nodes, tensors, value = [], {}, "x"
    for number in range(depth):
        tensors[f"w{number}"] = Spec((channels, channels, 3, 3), learned=True)
        given_ = {"input": Ref(value), "weight": Stored(f"w{number}"), "bias": None, "stride": (1, 1),
                  "padding": (1, 1), "dilation": (1, 1), "groups": 1}  # fmt: skip
        value = f"c{number}"
        nodes.append(Node(value, "aten.conv2d.default", given_, value, (None, channels, side, side)))
    return Program({"x": Spec((None, channels, side, side))}, tuple(nodes), (value,), tensors)


def weights(program, density, seed=0):
    draw = np.random.default_rng(seed)
    return {
        name: (draw.random(spec.shape) < density).astype(np.float32) for name, spec in program.tensors.items()
    }


def rates(csr, edge=0.0):
    """A table in which a value with zeros costs `csr` times a dense one, and nothing else costs anything."""
    terms = {f"{form}/{kind}": (1.0, 1.0, 0.0, 0.0, 0.0, 0.0)
             for form in BY_BLOCK.values() for kind in ("conv", "depthwise", "linear")}  # fmt: skip
    terms |= {f"dense/{kind}": (1.0, 0.0, 0.0, 0.0) for kind in ("conv", "depthwise", "linear")}
    return CostTable("cpu", "avx2", 2, terms | {"csr/conv": (csr, csr, 0.0, 0.0, 0.0, 0.0)}, edge)


def test_sparse_layers_run_by_their_zeros_and_nearly_full_ones_do_not():
    program = chain(3)
    stored = dict.fromkeys(program.tensors, 1)
    assert choose(program, weights(program, 0.1), stored, rates(2.0)) == stored
    assert choose(program, weights(program, 0.9), stored, rates(2.0)) == {}


def test_a_dense_layer_between_sparse_ones_comes_along_rather_than_cut_the_region():
    program = chain(3)
    arrays = weights(program, 0.1) | {"w1": np.ones((64, 64, 3, 3), np.float32)}
    found = choose(program, arrays, {"w0": 1, "w2": 1}, rates(2.0, edge=1e-3))
    assert found == {"w0": 1, "w1": 8, "w2": 1}


def test_nothing_runs_by_its_zeros_where_carrying_costs_more_than_is_won():
    program = chain(3)
    assert (
        choose(program, weights(program, 0.1), dict.fromkeys(program.tensors, 1), rates(2.0, edge=1e9)) == {}
    )


def test_a_package_without_zeros_keeps_all_its_layers_dense():
    program = chain(3)
    assert choose(program, weights(program, 1.0), {}, rates(0.1)) == {}


@given(density=st.floats(0.02, 1.0), depth=st.integers(1, 5))
def test_what_is_chosen_is_never_predicted_to_be_slower_than_dense(density, depth):
    program = chain(depth)
    table = cost_table("avx2", 2)
    assert table is not None
    stored = dict.fromkeys(program.tensors, 1)
    zeros, dense = predicted_ms(program, weights(program, density), stored, table)
    assert zeros <= dense * (1 + 1e-9)


def test_values_that_fill_up_a_block_count():
    weight = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 0], [0, 3, 0], [4, 0, 0]], np.float32)
    assert [kept_values(weight, block) for block in (1, 4, 8)] == [4, 12, 16]


def test_a_table_of_another_cpu_must_promise_more():
    """On a Zen 5, with a Xeon's table, 60 % zeros that promised 18 % took a quarter longer."""
    program, table = chain(6), rates(csr=0.8)
    arrays = weights(program, 1.0)
    stored = dict.fromkeys(arrays, 1)
    assert choose(program, arrays, stored, table)
    assert not choose(program, arrays, stored, table, FOREIGN_GAIN)


def linear(shape):
    given_ = {"input": Ref("x"), "weight": Stored("w"), "bias": None}
    node = Node("fc", "aten.linear.default", given_, "fc", (None, *shape[:-1], 256))
    return Program({"x": Spec((None, *shape))}, (node,), ("fc",), {"w": Spec((256, shape[-1]), learned=True)})


def test_a_linear_layer_runs_by_its_zeros_on_rows_and_dense_on_sequences():
    table = rates(csr=1.0)
    for shape, expected in (((512,), {"w": 1}), ((64, 512), {})):
        program = linear(shape)
        assert choose(program, weights(program, 0.02), {"w": 1}, table) == expected
