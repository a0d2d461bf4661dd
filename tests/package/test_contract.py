"""Contents that break the contract, in files whose digests are right: only the contents can be at fault."""

import contextlib
import json
import math

import byhand
import numpy as np
import pytest
from forged import Parts, parts_of
from hypothesis import given, settings
from hypothesis import strategies as st

from wieldy.core.errors import DigestError, OversizeError, PackageError, ProgramError, SchemaError
from wieldy.package.read import read
from wieldy.package.save import pack


@pytest.fixture
def parts():
    """The manifest and the program as JSON values, and the tensors as arrays."""
    found = parts_of(pack(byhand.conv_net()))
    return {"manifest": found.manifest, "program": found.program, "tensors": found.tensors}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.wieldy"


def write(path, parts, *, honest=True):
    """Pack altered parts; `honest`: with digests that fit them."""
    Parts(**parts, honest=honest).write(path)
    return path


def refuses(path, parts, message, kind=SchemaError):
    with pytest.raises(kind, match=message) as found:
        read(write(path, parts))
    assert str(path) in str(found.value)


def test_unaltered_parts_are_accepted(path, parts):
    assert read(write(path, parts)).program == byhand.conv_net().program


def test_a_part_other_than_the_manifest_names_is_a_digest_error(path, parts):
    write(path, parts)
    parts["tensors"]["conv.bias"] = parts["tensors"]["conv.bias"] + 1
    with pytest.raises(DigestError, match=r"tensors.safetensors is not what was saved"):
        read(write(path, parts, honest=False))


@pytest.mark.parametrize("version", [0, 2, 99, -1, 1.0, True, "1", None, [1]])
def test_another_schema_version_is_refused(path, parts, version):
    parts["manifest"]["schema_version"] = version
    refuses(path, parts, "has schema version .*; this wieldy reads 1. Upgrade wieldy")


def test_a_manifest_from_the_future_is_told_by_its_version_not_by_its_new_fields(path, parts):
    parts["manifest"] |= {"schema_version": 2, "kernels": ["spmm"], "formats": 7}
    refuses(path, parts, "has schema version 2; this wieldy reads 1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "onnx"}, "kind"),
        ({"colour": "red"}, "colour"),
        ({"outputs": []}, "disagree on inputs or outputs"),
        ({"outputs": ["relu"]}, "disagree on inputs or outputs"),
        ({"outputs": 3}, "outputs"),
        ({"inputs": []}, "disagree"),
        ({"formats": {}}, "tensors must be those that the program names"),
        ({"formats": {"conv.weight": "csr_f4", "conv.bias": "dense", "fc.weight": "dense"}},
         "conv.weight has the format 'csr_f4'; known are dense, csr, .*Upgrade"),
        ({"parts": {}}, r"must list program.json, tensors.safetensors; got \."),
        ({"provenance": {"date": "today"}}, "date"),
        ({"wieldy": None}, "wieldy"),
    ],
)  # fmt: skip
def test_a_manifest_that_breaks_the_contract_is_refused(path, parts, change, message):
    parts["manifest"] |= change
    refuses(path, parts, message)


@pytest.mark.parametrize("card", [{"sha256": "x", "bytes": 1}, {"sha256": "0" * 64, "bytes": -1}, "x", None])
def test_a_part_s_card_must_be_a_digest_and_a_size(path, parts, card):
    parts["manifest"]["parts"]["program.json"] = card
    with pytest.raises(SchemaError, match=r"parts.program.json|sha256|bytes"):
        read(write(path, parts, honest=False))


def test_a_part_that_is_no_part_is_refused(path, parts):
    parts["manifest"]["parts"]["model.onnx"] = {"sha256": "0" * 64, "bytes": 0}
    refuses(path, parts, "must list program.json, tensors.safetensors")


@pytest.mark.parametrize("field", ["schema_version", "parts", "formats", "inputs", "outputs", "wieldy"])
def test_a_missing_field_of_the_manifest_is_refused(path, parts, field):
    del parts["manifest"][field]
    refuses(path, parts, field)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b"{" + b'"a":' * 9])
def test_a_manifest_that_is_no_object_is_refused(path, parts, text):
    parts["manifest"] = text
    refuses(path, parts, "its manifest is no JSON object")


def test_a_manifest_that_is_too_large_is_refused(path, parts):
    parts["manifest"]["wieldy"] = "9" * (17 << 20)
    refuses(path, parts, "manifest.json may have 4,194,304 bytes", OversizeError)


def node(parts, name):
    return next(node for node in parts["program"]["nodes"] if node["name"] == name)


@pytest.mark.parametrize("op", ["aten.from_file.default", "aten.relu_.default", "os.system", "", "relu"])
def test_an_operator_that_is_not_on_the_allow_list_is_refused(path, parts, op):
    node(parts, "relu")["op"] = op
    refuses(path, parts, f"node 'relu' uses {op!r}, which is not on the allow-list")


@pytest.mark.parametrize(
    ("name", "argument", "value", "message"),
    [
        ("conv", "stride", [1, 1.5], "'stride' of 'conv' must be of kind positives"),
        ("conv", "stride", "1", "'stride' of 'conv' must be of kind positives"),
        ("conv", "weight", {"value": "x"}, "'weight' of 'conv' must be of kind tensor"),
        ("conv", "weight", {"tensor": "none"}, "reads the tensor 'none', which is not stored"),
        ("conv", "weight", {"file": "/etc/passwd"}, "is not what a program looks like"),
        ("conv", "groups", True, "'groups' of 'conv' must be of kind positive"),
        ("relu", "self", {"value": "fc"}, "reads 'fc', which nothing before it defines"),
        ("relu", "self", {"value": "relu"}, "reads 'relu', which nothing before it defines"),
        ("relu", "slope", 0.1, "must have"),
        ("mean", "dtype", "float64", "'dtype' of 'mean' must be of kind none"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused(path, parts, name, argument, value, message):
    node(parts, name)["inputs"][argument] = value
    refuses(path, parts, message)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e400])
def test_a_number_that_is_not_finite_is_refused(path, parts, number):
    relu = node(parts, "relu")
    relu["op"], relu["inputs"]["negative_slope"] = "aten.leaky_relu.default", number
    refuses(path, parts, r"\(ValueError: -?(NaN|Infinity) is no number of JSON\)", ProgramError)


def test_a_name_that_is_defined_twice_is_refused(path, parts):
    node(parts, "relu")["name"] = "conv"
    refuses(path, parts, "the name 'conv' is defined twice")


@pytest.mark.parametrize("learned", [1, None, "yes"])
def test_learned_must_be_true_or_false(path, parts, learned):
    parts["program"]["tensors"]["conv.bias"]["learned"] = learned
    refuses(path, parts, "learned must be true or false")


@pytest.mark.parametrize("outputs", [[], ["none"], "fc", [3], None])
def test_outputs_must_exist(path, parts, outputs):
    parts["program"]["outputs"] = outputs
    refuses(path, parts, "program: ")


@pytest.mark.parametrize(
    "spec",
    [
        {"shape": [None, 1, 6, 6], "dtype": "float64"},
        {"shape": [None, 1, 6, 6], "dtype": "object"},
        {"shape": [1, 1, 6, 6], "dtype": "float32"},
        {"shape": [None, 1, None, 6], "dtype": "float32"},
        {"shape": [None, 0], "dtype": "float32"},
        {"shape": [], "dtype": "float32"},
    ],
)
def test_an_input_must_be_of_a_known_dtype_with_only_the_batch_open(path, parts, spec):
    parts["program"]["inputs"]["x"] = spec
    parts["manifest"]["inputs"][0] |= spec
    refuses(path, parts, r"input 'x' must be float32 or int64 or bool \(batch, ...\)")


def test_a_program_without_inputs_is_refused(path, parts):
    parts["program"] = {"inputs": {}, "nodes": [], "outputs": ["x"], "tensors": {}}
    refuses(path, parts, "outputs must name at least one value")


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"3", b"\xff", b"{}", b"[" * 100_000, b'{"inputs": 3, "nodes": [], "outputs": []}'],
)
def test_what_is_no_program_is_refused(path, parts, data):
    parts["program"] = data
    refuses(path, parts, "is not what a program looks like")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("conv.bias", np.array([1, np.nan, 1, 1], np.float32), "conv.bias holds NaN or infinity"),
        ("conv.bias", np.array([1, np.inf, 1, 1], np.float32), "conv.bias holds NaN or infinity"),
        ("conv.bias", np.ones(5, np.float32), r"conv.bias must be float32 \(4,\); got float32 \(5,\)"),
        ("conv.bias", np.ones((4, 1), np.float32), r"got float32 \(4, 1\)"),
        ("conv.bias", np.ones(4, np.int64), "got int64"),
        ("conv.bias", np.ones(4, np.float16), "got float16"),
        ("more", np.ones(4, np.float32), "its tensors must be those that the program names"),
    ],
)
def test_a_tensor_that_breaks_the_contract_is_refused(path, parts, name, array, message):
    parts["tensors"][name] = array
    refuses(path, parts, message)


def test_a_missing_tensor_is_refused(path, parts):
    del parts["tensors"]["conv.bias"]
    refuses(path, parts, "its tensors must be those that the program names")


def header(**entries):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        header(a={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}),
        header(a={"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 0]}),
        header(a={"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]}) + bytes(4),
        header(a={"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}) + bytes(2),
        header(a={"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}) + bytes(1),
        header(a={"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}) + bytes(1),
        header(a={"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}) + bytes(8),
    ],
)
def test_what_are_no_tensors_is_refused(path, parts, data):
    parts["tensors"] = data
    refuses(path, parts, "tensors")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def spots(value, trail=()):
    """Every position in a JSON value."""
    yield trail
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from spots(value[key], (*trail, key))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_other_value_anywhere_is_accepted_or_a_package_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    altered = vars(parts_of(pack(byhand.conv_net())))
    which = data.draw(st.sampled_from(["manifest", "program"]))
    spot = data.draw(st.sampled_from([trail for trail in spots(altered[which]) if trail]))
    *trail, last = spot
    target = altered[which]
    for key in trail:
        target = target[key]
    target[last] = data.draw(JSON)
    path = write(folder / "net.wieldy", {key: altered[key] for key in ("manifest", "program", "tensors")})
    with contextlib.suppress(PackageError):
        read(path)
