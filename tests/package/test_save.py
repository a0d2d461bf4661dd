"""What is saved comes back, and the same network gives the same bytes."""

import errno
import os
import struct
import zlib
from dataclasses import replace

import byhand
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wieldy.core import digest
from wieldy.core.errors import SchemaError, StorageError
from wieldy.formats import FORMATS
from wieldy.formats.integer import IntegerFormat
from wieldy.graph.program import Spec
from wieldy.package.manifest import InputCard, Provenance
from wieldy.package.read import check, read
from wieldy.package.save import pack, save

SETTINGS = {
    "provenance": Provenance(original="a" * 64, steps=({"method": "taylor"},), recipe={"b": [1, 2]}, seed=3),
    "classes": ("nought", "one", "zwölf"),
    "tiers": ("avx2", "amx"),
    "mean": (0.5,),
    "std": (0.25,),
}


@pytest.fixture(params=["conv_net", "adder"])
def network(request):
    return getattr(byhand, request.param)()


def test_save_then_read_gives_the_same_network(network, tmp_path):
    package = read(save(network, tmp_path / "net.wieldy", **SETTINGS))
    assert package.program == network.program
    assert package.tensors.keys() == network.tensors.keys()
    for name, array in network.tensors.items():
        assert package.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(package.tensors[name], array, strict=True)
    assert (package.manifest.provenance, package.manifest.classes) == (
        SETTINGS["provenance"],
        SETTINGS["classes"],
    )
    assert package.manifest.tiers == SETTINGS["tiers"]
    cards = [InputCard(name=name, shape=spec.shape, dtype=spec.dtype, mean=(0.5,), std=(0.25,))
             for name, spec in network.program.inputs.items()]  # fmt: skip
    assert list(package.manifest.inputs) == cards


def test_the_same_network_gives_the_same_bytes(network):
    assert pack(network, **SETTINGS) == pack(network, **SETTINGS)


def test_neither_order_nor_memory_layout_of_tensors_changes_a_byte():
    network = byhand.conv_net()
    shuffled = {name: np.asfortranarray(network.tensors[name]) for name in reversed(network.tensors)}
    assert pack(byhand.ByHand(network.program, shuffled)) == pack(network)


def test_an_opened_package_saves_to_the_same_bytes(network, tmp_path):
    path = save(network, tmp_path / "net.wieldy")
    assert pack(read(path)) == path.read_bytes()


def test_check_is_read_and_names_the_file_s_digest(tmp_path):
    path = save(byhand.conv_net(), tmp_path / "net.wieldy")
    assert check(path).sha256 == digest.of_file(path)
    assert check(str(path)).manifest == read(path).manifest


def zip_by_the_spec(parts: dict[str, bytes]) -> bytes:
    """SPEC.md, "The container", written again."""
    body, directory = b"", b""
    for name, data in parts.items():
        common = struct.pack("<HHHHH", 20, 0, 0, 0, 0x0021)
        common += struct.pack("<III", zlib.crc32(data), len(data), len(data)) + struct.pack(
            "<HH", len(name), 0
        )
        directory += b"PK\x01\x02\x14\x03" + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0o644 << 16, len(body)) + name.encode()
        body += b"PK\x03\x04" + common + name.encode() + data
    count = len(parts)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def test_the_file_is_what_the_spec_says_byte_for_byte(tmp_path):
    path = save(byhand.conv_net(), tmp_path / "net.wieldy")
    data = path.read_bytes()
    names = ["manifest.json", "program.json", "tensors.safetensors"]
    starts = [data.index(b"PK\x03\x04")]
    parts = {}
    for name in names:
        head = starts[-1] + 30 + len(name)
        (size,) = struct.unpack_from("<I", data, starts[-1] + 18)
        parts[name] = data[head : head + size]
        starts.append(head + size)
    assert zip_by_the_spec(parts) == data


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.int64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
def test_any_finite_tensor_comes_back_bit_for_bit(tmp_path_factory, array):
    network = byhand.adder()
    program = replace(network.program, tensors={"scale": Spec(array.shape, array.dtype.name)})
    path = save(byhand.ByHand(program, {"scale": array}), tmp_path_factory.mktemp("p") / "net.wieldy")
    found = read(path).tensors["scale"]
    assert (found.shape, found.dtype, found.tobytes()) == (array.shape, array.dtype, array.tobytes())
    assert FORMATS["dense"].byte_count(array) == array.nbytes


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(np.nan, np.float32), "scale: .* finite .* got NaN or infinity"),
        (np.array(-np.inf, np.float32), "scale: .* got NaN or infinity"),
        (np.array(1.0, np.float64), "scale: .* got float64"),
        (np.array(1.0, np.float16), "scale: .* got float16"),
        (np.array("1"), "scale: .* got <U1"),
        (np.array(1), r"scale: must be float32 \(\).*got int64"),
        (np.ones(1, np.float32), r"scale: must be float32 \(\).*got float32 \(1,\)"),
    ],
)
def test_a_tensor_that_a_reader_would_refuse_is_not_saved(array, message, tmp_path):
    network = byhand.adder()
    with pytest.raises(SchemaError, match=message):
        save(byhand.ByHand(network.program, {"scale": array}), tmp_path / "net.wieldy")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_package(tmp_path, monkeypatch):
    path = save(byhand.adder(), tmp_path / "net.wieldy")
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        save(byhand.conv_net(), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.wieldy"]


def test_every_format_decodes_what_it_encodes():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for name, form in FORMATS.items():
        if isinstance(form, IntegerFormat):
            array = np.array([[0, -1, form.largest], [3, -form.largest, 5]], np.float32)
            assert form.holds(array), name
        np.testing.assert_array_equal(form.decode(form.encode(array), array.shape), array, strict=True)
