"""Whole numbers in the runtime: really executed as such, and never where they would saturate."""

import networks
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wieldy.compress.quantize import quantize
from wieldy.graph.trace import trace
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.package.read import read
from wieldy.package.save import save
from wieldy.runtime.engine import compile_model
from wieldy.runtime.integers import (
    LEVELS,
    SATURATING,
    executed_precisions,
    integers_of,
    may_saturate,
    precision_words,
    stored_integers,
)
from wieldy.runtime.lower import lower
from wieldy.runtime.session import open as open_package
from wieldy.runtime.tier import current_tier

WHOLE = ("i8", "u8")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_what_is_said_to_be_safe_never_saturates(data: st.DataObject) -> None:
    """Any pairing of each four inputs, any bytes: the sums of two products stay within sixteen bits."""
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    largest = data.draw(st.sampled_from([63, 64, 65, 100, 127]))
    inputs = data.draw(st.integers(1, 9))
    levels = rng.integers(-largest, largest + 1, (3, inputs)).astype(np.int8)
    padded = np.pad(levels.astype(np.int64), ((0, 0), (0, -inputs % 4))).reshape(3, -1, 4)
    sums = []
    for sign in (1, -1):
        same = np.maximum(sign * padded, 0)
        sums += [same[:, :, i] + same[:, :, j] for i in range(4) for j in range(i)]
    most = LEVELS * max(int(total.max()) for total in sums)
    assert may_saturate(levels) == (most > 2**15 - 1)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A network of several layers in eight and in seven bits, with inputs and what float32 says."""
    folder = tmp_path_factory.mktemp("integers")
    model, x, network = networks.traced("resnet18")
    paths = {}
    for bits in (7, 8):
        small, _ = quantize(network, [(x.numpy(),)], IntegerConfig(weight_bits=bits))
        paths[bits] = save(small, folder / f"int{bits}.wieldy", formats=small.formats), small
    return paths, x, model(x)


def precisions(path, tier):
    package = read(path)
    model = lower(package.program, package.tensors, 1, None, integers_of(package, tier))
    compiled = compile_model(model, threads=1)
    kinds = {
        node.get_friendly_name(): node.get_rt_info()["layerType"].astype(str)
        for node in compiled.get_runtime_model().get_ops()
    }
    found = executed_precisions(compiled)
    return [found[name] for name, kind in kinds.items() if kind == "Convolution"]


def test_seven_bits_run_as_whole_numbers_on_every_tier(packages):
    paths, _, _ = packages
    for tier in ("avx2", "avx512_vnni"):
        found = precisions(paths[7][0], tier)
        assert len(found) > 10
        assert set(found) <= set(WHOLE)


def test_eight_bits_run_as_float_where_they_may_saturate(packages):
    paths, _, _ = packages
    package = read(paths[8][0])
    assert integers_of(package, "avx512_vnni") == stored_integers(package)
    assert len(integers_of(package, "avx2")) < len(stored_integers(package)) / 2
    assert set(precisions(paths[8][0], "avx512_vnni")) <= set(WHOLE)
    assert "f32" in precisions(paths[8][0], "avx2")


def test_a_package_computes_the_same_as_whole_numbers_and_as_floats(packages):
    paths, x, wanted = packages
    for bits in (7, 8):
        path, small = paths[bits]
        package = read(path)
        outputs = []
        for integers in ({}, stored_integers(package)):
            if bits == 8 and integers and current_tier() in ("avx2", "avx512"):
                continue
            compiled = compile_model(
                lower(package.program, package.tensors, len(x), None, integers), threads=1
            )
            outputs.append(compiled(x.numpy())[0].copy())
        for found in outputs:
            assert networks.relative_error(found, small(x)) < 0.05
        assert networks.relative_error(small(x), wanted) < 0.25


def test_weights_that_saturate_come_out_wrong_unless_they_run_as_floats(tmp_path):
    """A constructed network: every product of a pair lies at the end of its range."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()).eval()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.zero_()
    x = torch.rand(1, 8, 6, 6) * 0 + 1.0
    for bits in (7, 8):
        small, _ = quantize(trace(model, x), [(x.numpy(),)], IntegerConfig(weight_bits=bits))
        path = save(small, tmp_path / f"{bits}.wieldy", formats=small.formats)
        package = read(path)
        fires = [name for name in stored_integers(package) if name not in integers_of(package, "avx2")]
        assert fires == (["0.weight"] if bits == 8 else [])
        found = open_package(path, threads=1)(x.numpy())
        assert networks.relative_error(found, model(x)) < 0.02


def test_a_timing_says_how_many_layers_are_multiplied_as_whole_numbers(packages):
    paths, _, _ = packages
    seven, eight = (read(paths[bits][0]) for bits in (7, 8))
    count, safe = len(stored_integers(eight)), len(integers_of(eight, "avx2"))
    assert precision_words(eight, "avx512_vnni", "f32") == "int8, rest f32"
    assert precision_words(seven, "avx2", "bf16") == "int8, rest bf16"
    assert precision_words(eight, "avx2", "f32").startswith(f"f32, int8 in {safe} of {count} int8 layers")


def test_opening_where_the_speed_was_not_measured_warns_in_one_line(packages, tmp_path):
    _, small = packages[0][8]
    elsewhere = save(small, tmp_path / "elsewhere.wieldy", tiers=("another",))
    with pytest.warns(
        UserWarning, match=r"elsewhere\.wieldy: its speed was measured on another and not on"
    ) as seen:
        open_package(elsewhere, threads=1)
    assert len(seen) == 1
    assert "\n" not in str(seen[0].message)
    assert seen[0].filename == __file__
    saturating = current_tier() in SATURATING
    assert ("could saturate" in str(seen[0].message)) == saturating
    open_package(
        save(small, tmp_path / "here.wieldy", tiers=(current_tier(),)), threads=1
    )  # would be an error


def test_a_single_input_is_no_pair():
    assert not may_saturate(np.int8([[127]]))
    assert not may_saturate(np.full((4, 1, 3, 3), 127, np.int8))  # depthwise
