"""The records of a region: what plan.py writes is, field by field, what steps.h declares."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import conv_of, sparse_normal
from region_cases import regions

import wieldy.kernels.region.plan as planner
from wieldy.kernels.region.layout import Planes
from wieldy.kernels.region.ops import GlobalMean, Op, Pooling, RegionPlan, Size

HEADER = (Path(planner.__file__).parent / "steps.h").read_text(encoding="utf-8")
PLANES = tuple(field.name for field in fields(Planes))
KINDS = re.findall(r"k(\w+)", re.search(r"enum StepKind : Int (.*?);", HEADER, re.S).group(1))


def declared(record: str) -> list[str]:
    """Return the fields of a struct in order; those of planes as `to.begin` and so on."""
    body = re.search(rf"struct {record} \{{(.*?)\n\}};", HEADER, re.S).group(1)
    body = re.sub(r"//.*", "", body)
    found = []
    for kind, names in re.findall(r"(\w+) ([\w, ]+);", body):
        for name in names.split(", "):
            found += [name] if kind == "Int" else [f"{name}.{field}" for field in declared(kind)]
    return found


def records(steps: list[int]) -> list[tuple[str, dict[str, int]]]:
    """Return every record of a region by the names of the header."""
    found, at = [], 0

    def take(record: str) -> dict[str, int]:
        nonlocal at
        names = declared(record)
        at += len(names)
        return dict(zip(names, steps[at - len(names) : at], strict=True))

    while at < len(steps):
        kind = KINDS[steps[at]]
        kind = f"{kind}Step" if kind.endswith("Product") else kind
        found.append((kind, take(kind)))
    assert at == len(steps)
    return found


@pytest.fixture(scope="module")
def plan():  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    weight = sparse_normal(rng, (12, 5, 3, 2), 0.5)
    conv = conv_of(
        weight, 4, target="a", stride=(2, 1), padding=(1, 0), low=-0.5, high=6.0,
        bias=np.arange(1, 13, dtype=np.float32),
    )  # fmt: skip
    point = conv_of(sparse_normal(rng, (12, 12, 1, 1), 0.5), source="a", target="b", residual="a")
    same = conv_of(sparse_normal(rng, (12, 12, 3, 3), 0.5), source="b", target="c", padding=(1, 1))
    ops: list[Op] = [
        conv, point, same,
        Pooling("c", "d", (5, 3), (4, 2), (2, 1), (1, 7), True, False, (2, 1)),
        GlobalMean("d", "e"),
    ]  # fmt: skip
    return planner.plan_region({"x": Size(5, 9, 11)}, ops, ["e"], variant="portable", threads=1), conv


def test_planes_have_the_fields_of_the_header():
    assert tuple(declared("Planes")) == PLANES


def test_the_kinds_are_numbered_as_in_the_header():
    names = [re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).upper() for kind in KINDS]
    assert [getattr(planner, name) for name in names] == list(range(len(KINDS)))


def test_the_records_of_a_region_end_where_its_steps_end(plan):
    found = records(plan[0].steps.tolist())
    kinds = [kind for kind, _ in found if kind not in ("Chain", "ProductStep")]
    assert kinds == ["Load", "Split", "Pool", "Mean", "Store"]
    assert sum(kind == "ProductStep" for kind, _ in found) == 3


def by_kind(plan, kind):  # type: ignore[no-untyped-def]
    return [record for name, record in records(plan[0].steps.tolist()) if name == kind]


def size(record, planes):  # type: ignore[no-untyped-def]
    return tuple(record[f"{planes}.{field}"] for field in ("channels", "height", "width"))


def test_each_record_holds_the_sizes_of_its_planes(plan):
    (load,), (split,), (pool,), (mean,), (store,) = (
        by_kind(plan, kind) for kind in ("Load", "Split", "Pool", "Mean", "Store")
    )
    assert size(load, "to") == size(split, "from") == (5, 9, 11)
    assert size(split, "to") == (5 * 2, 5, 11)
    assert size(pool, "from") == (12, 5, 10)
    assert size(pool, "to") == size(mean, "from") == (12, 2, 1)
    assert size(mean, "to") == size(store, "from") == (12, 1, 1)
    for record in (load, split, pool, mean, store):
        for planes in {name.split(".")[0] for name in record if "." in name}:
            assert record[f"{planes}.pitch"] >= record[f"{planes}.width"]
            assert record[f"{planes}.stride"] >= record[f"{planes}.height"] * record[f"{planes}.pitch"] - (
                record[f"{planes}.pitch"] - record[f"{planes}.width"]
            )


def test_a_split_names_its_stride_and_the_table_of_its_phases(plan):
    (split,) = by_kind(plan, "Split")
    assert (split["stride_y"], split["stride_x"], split["phases"]) == (2, 1, 2)
    table = plan[0].indices[split["table"] :][:4]
    assert table.reshape(2, 2).tolist() == [[0, 0], [1, 0]]


def test_a_pooling_names_its_window(plan):
    (pool,) = by_kind(plan, "Pool")
    window = [name for name in declared("Pool") if "." not in name and name != "kind"]
    assert {name: pool[name] for name in window} == {
        "average": 1, "kernel_y": 5, "kernel_x": 3, "stride_y": 4, "stride_x": 2, "pad_y": 2, "pad_x": 1,
        "dilation_y": 1, "dilation_x": 7, "counts_padding": 0,
    }  # fmt: skip


def test_a_product_finds_its_constants(plan):
    region, conv = plan
    product = by_kind(plan, "ProductStep")[0]
    assert size(product, "to") == (12, 5, 10)
    assert (product["block"], product["row_blocks"], product["residual"]) == (4, 3, -1)
    assert [np.int32(product[name]).view(np.float32) for name in ("low", "high")] == [-0.5, 6.0]
    assert product["from"] == by_kind(plan, "Split")[0]["to.begin"]
    np.testing.assert_array_equal(region.values[product["bias"] :][:12], conv.bias)
    entries = region.indices[product["starts"] :][: product["parts"] * 3 + 1]
    assert (entries[0], entries[-1]) == (0, len(conv.columns))
    stored = region.values[product["values"] :][: conv.values.size]
    np.testing.assert_array_equal(np.sort(stored), np.sort(conv.values.ravel()))
    assert len(set(region.indices[product["offsets"] :][: len(conv.columns)].tolist())) > 1
    row_tasks = by_kind(plan, "Chain")[0]["row_tasks"]
    assert region.indices[product["cuts"] :][: row_tasks + 1].tolist()[:: row_tasks or 1] == [0, 3]


def test_a_product_names_its_residual_and_the_mask_of_what_is_padded(plan):
    first, point, _ = by_kind(plan, "ProductStep")
    assert point["residual"] == first["to.begin"]
    assert point["mask"] >= 0
    bits = np.unpackbits(plan[0].indices[point["mask"] :][:2].view(np.uint8), bitorder="little")
    width, pitch = point["to.width"], point["to.pitch"]
    assert bits[:pitch].tolist() == [1] * width + [0] * (pitch - width)


def last_of(record: dict[str, int], planes: str, positions: int) -> int:
    """Return the place after the last of so many positions."""
    return (
        record[f"{planes}.begin"]
        + (record[f"{planes}.channels"] - 1) * record[f"{planes}.stride"]
        + positions
    )


def assert_product_stays_inside(
    record: dict[str, int], chain: dict[str, int], region: RegionPlan, local: dict[str, bool]
) -> None:
    rows = record["row_blocks"] * record["block"]
    pixels = (record["to.height"] - 1) * record["to.pitch"] + record["to.width"]
    room = {True: chain["tile"], False: -(-pixels // 16) * 16}
    floats = {True: chain["scratch_floats"], False: region.workspace_floats}
    whole = record | {"to.channels": rows}
    assert last_of(whole, "to", room[local["to"]]) <= floats[local["to"]]
    if record["residual"] >= 0:
        last = record["residual"] + (rows - 1) * record["residual_stride"] + room[local["residual"]]
        assert last <= floats[local["residual"]]
    entries = region.indices[record["starts"] :][: record["parts"] * record["row_blocks"] + 1]
    assert (np.diff(entries) >= 0).all()
    places = region.indices[record["offsets"] :][: entries[-1]] + record["from"]
    assert len(places) == entries[-1]
    assert places.min(initial=0) >= 0
    assert places.max(initial=0) + room[local["from"]] <= floats[local["from"]]
    assert record["values"] + entries[-1] * record["block"] <= len(region.values)
    assert record["bias"] + rows <= len(region.values)


LOCAL = {name: int(bit) for name, bit in re.findall(r"kLocal(\w+) = (\d)", HEADER)}


def test_the_bits_of_what_is_local_are_those_of_the_header():
    assert LOCAL == {"From": planner.LOCAL_FROM, "Residual": planner.LOCAL_RESIDUAL, "To": planner.LOCAL_TO}


@pytest.mark.parametrize("variant", sorted({variant for variant, _ in planner.TUNING}))
def test_every_address_of_a_region_lies_in_its_workspace(variant):
    @settings(max_examples=100, deadline=None)
    @given(region=regions(), threads=st.integers(1, 4))
    def check(region, threads) -> None:  # type: ignore[no-untyped-def]
        inputs, ops, outputs = region
        sizes = {name: Size(*array.shape[1:]) for name, array in inputs.items()}
        found = planner.plan_region(sizes, ops, outputs, variant=variant, threads=threads)
        chain: dict[str, int] = {}
        for kind, record in records(found.steps.tolist()):
            chain = record if kind == "Chain" else chain
            bits = record.get("local", 0) if kind == "ProductStep" else record.get("local", 0) * LOCAL["From"]
            local = {name.lower(): bool(bits & bit) for name, bit in LOCAL.items()}
            if kind == "Chain":
                last = record["scratch"] + record["tile_tasks"] * record["scratch_floats"]
                assert last <= found.workspace_floats
            if kind == "ProductStep":
                assert_product_stays_inside(record, chain, found, local)
            for planes in {name.split(".")[0] for name in record if "." in name}:
                assert record[f"{planes}.begin"] >= 0
                if not local.get(planes):
                    rows = record[f"{planes}.height"] * record[f"{planes}.pitch"]
                    assert last_of(record, planes, rows) <= found.workspace_floats

    check()
