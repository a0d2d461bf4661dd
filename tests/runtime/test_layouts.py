"""Values cross the edge of a region as OpenVINO computes or reads them, and the network stays what it was."""

from collections.abc import Callable

import pytest
from planes import VARIANTS, Planes, needs_kernels, zeros_with

from wieldy.runtime.engine import compile_model
from wieldy.runtime.layouts import channels_last
from wieldy.runtime.lower import lower
from wieldy.runtime.lower_zeros import sparse_regions

KEEP = {"padding": (1, 1)}


def dense(net: Planes, source: str) -> str:
    return net.conv(source, 8, block=None, **KEEP)


def sparse(net: Planes, source: str) -> str:
    return net.conv(source, 8, **KEEP)


def after_dense(net: Planes, x: str) -> str:
    return sparse(net, net.relu(net.norm(dense(net, x))))


def after_sigmoid(net: Planes, x: str) -> str:
    return sparse(net, net.sigmoid(x))


def before_dense(net: Planes, x: str) -> str:
    return dense(net, net.sigmoid(sparse(net, x)))


def before_dense_and_asked_for(net: Planes, x: str) -> str:
    inner = sparse(net, x)
    net.asked = (inner, dense(net, inner))
    return inner


def between(net: Planes, x: str) -> str:
    return dense(net, sparse(net, dense(net, x)))


def branches(net: Planes, x: str) -> str:
    """A dense and a sparse branch meet in a sum of OpenVINO's."""
    return dense(net, net.add(net.sigmoid(sparse(net, dense(net, x))), dense(net, x)))


def region_after_region(net: Planes, x: str) -> str:
    return sparse(net, net.sigmoid(sparse(net, x)))


def dropped(net: Planes, x: str) -> str:
    """One value under two names, of which only one is read by a convolution."""
    inner = sparse(net, x)
    net.asked = (inner, dense(net, net.dropout(inner)))
    return inner


CASES: list[
    tuple[Callable[[Planes, str], str], list[set[str]]]
] = [  # kinds of nodes that cross channels last
    (after_dense, [{"relu"}]),
    (after_sigmoid, [set()]),
    (before_dense, [{"conv"}]),
    (before_dense_and_asked_for, [set()]),
    (between, [{"conv"}]),
    (branches, [{"conv"}]),
    (region_after_region, [set(), set()]),
    (dropped, [{"dropout"}]),
]


@needs_kernels
@pytest.mark.parametrize(("build", "expected"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_what_openvino_computes_or_reads_crosses_with_channels_last(
    build: Callable[[Planes, str], str], expected: list[set[str]]
) -> None:
    net = Planes()
    build(net, net.input(4, 9, 7))
    program = net.program(*getattr(net, "asked", ()))
    zeros = zeros_with(net.blocks, VARIANTS[-1], 2)
    found = sparse_regions(program, zeros)
    inside = {node.name for region in found for node in region.nodes}
    last = [channels_last(program, region, inside) for region in found]
    assert [{name.rstrip("0123456789") for name in names} for names in last] == expected
    assert max(net.errors(program, zeros).values()) < 1e-5


@needs_kernels
def test_openvino_lays_out_nothing_anew_around_a_region_between_dense_layers() -> None:
    net = Planes(1)
    between(net, net.input(16, 32, 32))
    model = lower(net.program(), net.tensors, 1, zeros_with(net.blocks, VARIANTS[-1]))
    request = compile_model(model, threads=1, profile=True).create_infer_request()
    request.infer(list(net.inputs.values()))
    ran = [step for step in request.profiling_info if "EXECUTED" in str(step.status)]
    assert sum(step.node_type == "Reference" for step in ran) == 1
    assert sum(step.node_type == "Reorder" for step in ran) == 2  # of the network's input, and of its output
