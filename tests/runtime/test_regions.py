"""Regions are connected and convex, have an anchor each, and never wait for each other."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planes import Planes, needs_kernels, regions_of, zeros_with

from wieldy.graph.program import Node, Program, Ref, Spec
from wieldy.runtime.regions import Region, contracted_order, find_regions

ANCHOR, FITS, OTHER = "anchor", "fits", "other"


def program_of(nodes: dict[str, tuple[str, str]], outputs: str = "") -> Program:
    """Return a program from kinds and what each node reads; outputs: what nobody reads."""
    made = tuple(
        Node(name, kind, {str(place): Ref(read) for place, read in enumerate(reads.split())}, "", (None,))
        for name, (kind, reads) in nodes.items()
    )
    read = {name for node in made for name in node.refs()}
    ends = tuple(outputs.split()) or tuple(name for name in nodes if name not in read)
    return Program({"x": Spec((None,)), "y": Spec((None,))}, made, ends, {})


def regions(program: Program) -> list[Region]:
    return find_regions(program, lambda node: node.op != OTHER, lambda node: node.op == ANCHOR)


def names(region: Region) -> str:
    return " ".join(node.name for node in region.nodes)


def found(nodes: dict[str, tuple[str, str]]) -> list[str]:
    return [names(region) for region in regions(program_of(nodes))]


def test_an_outside_node_parts_two_regions() -> None:
    nodes = {"a": (ANCHOR, "x"), "b": (FITS, "a"), "o": (OTHER, "b"), "c": (ANCHOR, "o"), "d": (FITS, "c")}
    assert found(nodes) == ["a b", "c d"]


def test_a_diamond_with_one_arm_outside_does_not_close() -> None:
    nodes = {"a": (ANCHOR, "x"), "b": (FITS, "a"), "o": (OTHER, "a"), "s": (FITS, "b o"), "c": (ANCHOR, "s")}
    assert found(nodes) == ["a b", "c"]  # s is the second one's head


def test_a_diamond_inside_is_one_region() -> None:
    nodes = {"a": (ANCHOR, "x"), "b": (FITS, "a"), "c": (ANCHOR, "a"), "s": (FITS, "c b")}
    assert found(nodes) == ["a b c s"]


def test_branches_of_one_input_join_where_they_meet() -> None:
    nodes = {"a": (ANCHOR, "x"), "b": (ANCHOR, "x"), "s": (FITS, "b a")}
    assert found(nodes) == ["a b s"]


def test_what_stands_before_the_first_anchor_stays_outside() -> None:
    nodes = {"h": (FITS, "x"), "i": (FITS, "h"), "a": (ANCHOR, "i"), "b": (FITS, "a h")}
    assert found(nodes) == ["a b"]


def test_a_region_without_an_anchor_stays_outside() -> None:
    nodes = {"a": (ANCHOR, "x"), "o": (OTHER, "a"), "b": (FITS, "o"), "c": (FITS, "b")}
    assert found(nodes) == ["a"]


def test_branches_that_only_a_head_ties_are_regions_of_their_own() -> None:
    nodes = {"h": (FITS, "x"), "a": (ANCHOR, "h"), "b": (ANCHOR, "h")}
    assert found(nodes) == ["a", "b"]


def test_two_regions_never_wait_for_each_other() -> None:
    """a hands o to the region of b; so that region, which holds s, must hand nothing to the region of a."""
    nodes = {
        "a": (ANCHOR, "x"), "b": (ANCHOR, "x"), "o": (OTHER, "a"), "s": (FITS, "o b"), "t": (FITS, "a b"),
    }  # fmt: skip
    assert found(nodes) == ["a", "b s t"]
    assert runs(program_of(nodes))


@needs_kernels
def test_a_network_whose_branches_cross_can_be_lowered() -> None:
    net = Planes()
    x = net.input(3, 5, 5)
    a, b = net.conv(x, 4), net.conv(x, 4)
    program = net.program(net.add(net.sigmoid(a), b), net.add(a, b))
    zeros = zeros_with(net.blocks, "portable")
    assert regions_of(program, net.tensors, zeros) == 2
    assert max(net.errors(program, zeros).values()) < 1e-5


def test_a_region_hands_out_what_is_read_outside_or_is_an_output() -> None:
    nodes = {"a": (ANCHOR, "y x"), "b": (FITS, "a"), "c": (FITS, "b x"), "d": (FITS, "c"), "o": (OTHER, "c")}
    program = program_of(nodes, outputs="o b d")
    (region,) = regions(program)
    assert region.inputs() == ("y", "x")
    assert region.outputs(program) == ("b", "c", "d")


def test_an_unread_value_is_not_handed_out() -> None:
    program = program_of({"a": (ANCHOR, "x"), "b": (FITS, "a"), "c": (FITS, "a")}, outputs="b")
    (region,) = regions(program)
    assert region.outputs(program) == ("b",)


@st.composite
def programs(draw: st.DrawFn, kinds: tuple[str, ...] = (ANCHOR, FITS, FITS, OTHER)) -> Program:
    known, nodes = ["x", "y"], {}
    for number in range(draw(st.integers(1, 14))):
        reads = draw(st.lists(st.sampled_from(known[-8:]), min_size=1, max_size=3))
        nodes[f"n{number}"] = (draw(st.sampled_from(kinds)), " ".join(reads))
        known.append(f"n{number}")
    outputs = draw(st.lists(st.sampled_from(known[2:]), max_size=2, unique=True))
    return program_of(nodes, " ".join(outputs))


def upstream(program: Program, names_: Iterable[str]) -> set[str]:
    """Return the nodes on which any of these depend, themselves left out unless another depends on them."""
    reads = {node.name: set(node.refs()) for node in program.nodes}
    waiting, seen = [read for name in names_ for read in reads[name]], set()
    while waiting:
        name = waiting.pop()
        if name in reads and name not in seen:
            seen.add(name)
            waiting += reads[name]
    return seen


def runs(program: Program) -> bool:
    """Whether there is an order that takes every node once and after what it reads."""
    known = set(program.inputs)
    for unit in contracted_order(program, regions(program)):
        for node in unit.nodes if isinstance(unit, Region) else (unit,):
            assert known.issuperset(node.refs())
            assert node.name not in known
            known.add(node.name)
    return known == {*program.inputs, *(node.name for node in program.nodes)}


@given(program=programs())
@settings(max_examples=120, deadline=None, derandomize=True)
def test_every_node_comes_once_and_after_what_it_reads(program: Program) -> None:
    assert runs(program)


@given(program=programs())
@settings(max_examples=120, deadline=None, derandomize=True)
def test_no_path_leaves_a_region_and_comes_back(program: Program) -> None:
    for region in regions(program):
        own = {node.name for node in region.nodes}
        for name in upstream(program, own) - own:
            assert not upstream(program, [name]) & own


@given(program=programs())
@settings(max_examples=120, deadline=None, derandomize=True)
def test_a_region_is_connected_has_an_anchor_and_holds_what_fits(program: Program) -> None:
    taken: set[str] = set()
    for region in regions(program):
        own = {node.name for node in region.nodes}
        assert not own & taken
        taken |= own
        assert {node.op for node in region.nodes} <= {ANCHOR, FITS}
        assert any(node.op == ANCHOR for node in region.nodes)
        assert all(node.op == ANCHOR or own & set(node.refs()) for node in region.nodes)
        assert connected(region)


def connected(region: Region) -> bool:
    own = {node.name for node in region.nodes}
    edges = [own & {node.name, *node.refs()} for node in region.nodes]
    reached = {region.nodes[0].name}
    for _ in region.nodes:
        reached = reached.union(*(edge for edge in edges if edge & reached))
    return reached == own


@given(program=programs(kinds=(ANCHOR, ANCHOR, OTHER)))
@settings(max_examples=120, deadline=None, derandomize=True)
def test_neighbours_are_one_region_unless_a_path_between_them_leads_outside(program: Program) -> None:
    known = regions(program)
    home = {node.name: region for region in known for node in region.nodes}
    for node in program.nodes:
        for read in node.refs():
            first, second = home.get(read), home.get(node.name)
            if first and second and first is not second:
                joined = {other.name for other in (*first.nodes, *second.nodes)}
                one = Region(tuple(other for other in program.nodes if other.name in joined))
                others = [region for region in known if region not in (first, second)]
                with pytest.raises(AssertionError, match="comes back"):
                    contracted_order(program, [*others, one])
