"""Packages whose tensors are stored without their zeros."""

import json
import zipfile
from dataclasses import replace

import byhand
import numpy as np
import pytest
from forged import Parts, contents_of
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors

from wieldy.core.errors import ConfigError, SchemaError
from wieldy.formats import FORMATS
from wieldy.formats.dense import DTYPES
from wieldy.formats.integer import IntegerFormat, rounded_scales
from wieldy.formats.sparse import SparseFormat
from wieldy.formats.unified import UnifiedFormat
from wieldy.graph.program import Spec
from wieldy.package.manifest import MANIFEST, PROGRAM, TENSORS
from wieldy.package.read import read
from wieldy.package.save import pack, save
from wieldy.runtime.session import open as open_package

SPARSE = [name for name, form in FORMATS.items() if isinstance(form, SparseFormat)]


def holding(array, name="scale"):
    """A network with one tensor, of any shape."""
    network = byhand.adder()
    program = replace(network.program, tensors={name: Spec(array.shape, array.dtype.name)})
    return byhand.ByHand(program, {name: array})


def half_zero():
    """A convolutional network, half of whose weights are zero, in numbers that float16 holds."""
    network = byhand.conv_net()
    weight = network.tensors["conv.weight"]
    kept = np.random.default_rng(0).random(weight.shape) < 0.5
    sparse = (weight.astype(np.float16) * kept).astype(np.float32)
    return byhand.ByHand(network.program, network.tensors | {"conv.weight": sparse})


@pytest.mark.parametrize("kind", SPARSE)
def test_a_package_computes_the_same_however_its_tensors_are_stored(kind, tmp_path):
    network = half_zero()
    dense = save(network, tmp_path / "dense.wieldy")
    sparse = save(network, tmp_path / "sparse.wieldy", formats={"conv.weight": kind})
    assert read(sparse).manifest.formats["conv.weight"] == kind
    (spec,) = network.program.inputs.values()
    x = np.random.default_rng(1).normal(size=(2, *spec.shape[1:])).astype(np.float32)
    np.testing.assert_allclose(open_package(sparse)(x), open_package(dense)(x), rtol=1e-5)  # other kernels


SHAPES = st.one_of(
    st.tuples(st.integers(1, 17), st.integers(1, 19)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)),
)


def of_format(form, shape, density, seed):
    """Return numbers that a format stores without loss."""
    draw = np.random.default_rng(seed)
    kept = draw.random(shape) < density
    if isinstance(form, IntegerFormat):
        levels = (draw.integers(-form.largest, form.largest + 1, shape) * kept).reshape(shape[0], -1)
        levels[levels.any(axis=1), 0] = form.largest
        scales = rounded_scales(draw.uniform(1e-6, 1e6, shape[0]))
        return (levels.astype(np.float32) * scales[:, None]).reshape(shape)
    if isinstance(form, UnifiedFormat) and draw.random() < 0.5:
        return (draw.choice((-0.3, 0.3), shape) * kept).astype(np.float32)
    values = draw.normal(size=shape) * kept
    return values.astype(getattr(form, "dtype", np.float32)).astype(np.float32)


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, density=st.sampled_from([0, 0.05, 0.4, 1]), seed=st.integers(0, 2**32))
def test_any_tensor_in_any_format_comes_back_and_is_saved_to_the_same_bytes(
    tmp_path_factory, kind, shape, density, seed
):
    array = of_format(FORMATS[kind], shape, density, seed)
    data = pack(holding(array), formats={"scale": kind})
    path = tmp_path_factory.mktemp("format") / "net.wieldy"
    path.write_bytes(data)
    found = read(path)
    np.testing.assert_array_equal(found.tensors["scale"], array, strict=True)
    assert pack(found, formats={"scale": kind}) == data


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=25, deadline=None)
@given(shape=SHAPES | st.just(()) | st.just((0, 3)), seed=st.integers(0, 2**32))
def test_any_tensor_of_any_dtype_comes_back_and_is_saved_to_the_same_bytes(
    tmp_path_factory, dtype, shape, seed
):
    draw = np.random.default_rng(seed)
    bits = np.frombuffer(draw.bytes(8 * int(np.prod(shape))), np.int64).reshape(shape)
    array = {"float32": draw.normal(size=shape).astype(np.float32), "int64": bits, "bool": bits > 0}[dtype]
    data = pack(holding(np.asarray(array)))
    path = tmp_path_factory.mktemp("dtype") / "net.wieldy"
    path.write_bytes(data)
    np.testing.assert_array_equal(read(path).tensors["scale"], array, strict=True)
    assert pack(read(path)) == data


def test_the_file_shrinks_by_what_the_format_counts(tmp_path):
    array = np.random.default_rng(0).normal(size=(64, 640)).astype(np.float32)
    array[np.random.default_rng(1).random(array.shape) < 0.9] = 0
    sizes = {}
    for kind in ("dense", "csr", "csr_f16"):
        path = save(holding(array), tmp_path / f"{kind}.wieldy", formats={"scale": kind})
        with zipfile.ZipFile(path) as archive:
            sizes[kind] = sum(part.nbytes for part in load_tensors(archive.read(TENSORS)).values())
    assert sizes == {kind: FORMATS[kind].byte_count(array) for kind in sizes}
    assert sizes["csr"] <= 0.20 * sizes["dense"]
    assert sizes["csr_f16"] <= 0.12 * sizes["dense"]


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ({"scal": "csr"}, "formats: 'scal': 'csr' must be a tensor of the network"),
        ({"scale": "bsr"}, "formats: 'scale': 'bsr' must be .* one of dense, csr"),
    ],
)
def test_rejects_formats_that_do_not_exist(formats, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        save(byhand.adder(), tmp_path / "net.wieldy", formats=formats)
    assert not (tmp_path / "net.wieldy").exists()


def test_rejects_whole_numbers_in_a_sparse_format(tmp_path):
    with pytest.raises(SchemaError, match=r"scale: csr holds float32; got int64\. Store it dense"):
        save(holding(np.arange(3)), tmp_path / "net.wieldy", formats={"scale": "csr"})


def test_rejects_a_value_too_large_for_its_format_by_name(tmp_path):
    with pytest.raises(SchemaError, match="scale: sparse: float16 holds magnitudes up to 65504"):
        save(holding(np.float32([[1e6]])), tmp_path / "net.wieldy", formats={"scale": "csr_f16"})


def test_rejects_a_part_that_takes_the_name_of_a_tensor(tmp_path):
    network = holding(np.ones((2, 2), np.float32))
    program = replace(
        network.program, tensors=dict(network.program.tensors) | {"scale.gaps": Spec((1,), "float32")}
    )
    clashing = byhand.ByHand(program, network.tensors | {"scale.gaps": np.ones(1, np.float32)})
    with pytest.raises(SchemaError, match=r"scale\.gaps: names both a tensor and a part of another"):
        save(clashing, tmp_path / "net.wieldy", formats={"scale.gaps": "dense", "scale": "csr"})


@pytest.fixture
def contents():
    """The parts of a sound sparse package, to be altered."""
    return contents_of(pack(half_zero(), formats={"conv.weight": "csr"}))


def rewritten(path, contents, tensors=None, program=None):
    """Write altered parts with digests that fit them."""
    manifest = json.loads(contents[MANIFEST])
    Parts(manifest, program or contents[PROGRAM], tensors or contents[TENSORS]).write(path)
    return path


def test_a_missing_part_is_refused(contents, tmp_path):
    tensors = load_tensors(contents[TENSORS])
    del tensors["conv.weight.counts"]
    with pytest.raises(SchemaError, match="tensors must be those that the program names"):
        read(rewritten(tmp_path / "net.wieldy", contents, tensors))


def test_parts_that_contradict_each_other_are_refused_by_name(contents, tmp_path):
    tensors = load_tensors(contents[TENSORS])
    tensors["conv.weight.gaps"] = tensors["conv.weight.gaps"] + np.uint8(100)
    with pytest.raises(SchemaError, match=r"net\.wieldy: conv\.weight: sparse: a column must be below"):
        read(rewritten(tmp_path / "net.wieldy", contents, tensors))


def test_values_that_are_not_finite_are_refused(contents, tmp_path):
    tensors = load_tensors(contents[TENSORS])
    tensors["conv.weight.values"][0, 0] = np.nan
    with pytest.raises(SchemaError, match=r"conv\.weight holds NaN or infinity"):
        read(rewritten(tmp_path / "net.wieldy", contents, tensors))


def test_a_tensor_that_would_unfold_to_terabytes_is_refused_before_it_does(contents, tmp_path):
    program = json.loads(contents[PROGRAM])
    program["tensors"]["conv.weight"]["shape"] = [4, 2**40]
    with pytest.raises(SchemaError, match=r"may unfold to 256 times what is stored .* claim 17,592"):
        read(rewritten(tmp_path / "net.wieldy", contents, program=program))
