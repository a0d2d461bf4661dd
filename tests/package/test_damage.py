"""A package is hostile until checked: whatever is changed, cut or added, one of our errors names it."""

import io
import random
import tracemalloc
import zipfile

import byhand
import pytest
from forged import contents_of, zipped
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wieldy.core.errors import (
    DigestError,
    EntriesError,
    NotAPackageError,
    PackageError,
    TruncatedError,
)
from wieldy.package.archive import NAMES, wrap
from wieldy.package.read import read
from wieldy.package.save import pack

SOUND = pack(byhand.conv_net())
SIZE = len(SOUND)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("damage") / "net.wieldy"


def refusal(place, data: bytes) -> PackageError:
    """Return the error that reading `data` raises; anything but a PackageError fails the test."""
    place.write_bytes(data)
    with pytest.raises(PackageError) as found:
        read(place)
    assert str(found.value).startswith(f"{place}: ")
    return found.value


def test_the_undamaged_file_is_accepted(place):
    place.write_bytes(SOUND)
    assert read(place).program == byhand.conv_net().program


@settings(max_examples=300, deadline=None)
@given(st.integers(0, SIZE - 1), st.integers(1, 255))
def test_any_flipped_byte_is_refused(place, index, flip):
    damaged = bytearray(SOUND)
    damaged[index] ^= flip
    refusal(place, bytes(damaged))


def outside_the_parts() -> list[int]:
    """The positions of headers and directory: every byte that belongs to no part."""
    inside: set[int] = set()
    with zipfile.ZipFile(io.BytesIO(SOUND)) as archive:
        for entry in archive.infolist():
            start = entry.header_offset + 30 + len(entry.filename)
            inside |= set(range(start, start + entry.file_size))
    return [index for index in range(SIZE) if index not in inside]


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_byte_outside_the_parts_counts(place, flip):
    for index in outside_the_parts():
        damaged = bytearray(SOUND)
        damaged[index] ^= flip
        refusal(place, bytes(damaged))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, SIZE - 1))
@example(1)
@example(4)
@example(SIZE - 1)
def test_any_truncation_is_refused(place, size):
    assert isinstance(refusal(place, SOUND[:size]), TruncatedError)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, SIZE), st.binary(min_size=1, max_size=40))
def test_any_insertion_is_refused(place, index, extra):
    refusal(place, SOUND[:index] + extra + SOUND[index:])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_any_shuffled_stretch_is_refused(place, seed):
    draw = random.Random(seed)
    start = draw.randrange(SIZE - 1)
    stretch = bytearray(SOUND[start : start + draw.randrange(2, 200)])
    draw.shuffle(stretch)
    damaged = SOUND[:start] + bytes(stretch) + SOUND[start + len(stretch) :]
    if damaged != SOUND:
        refusal(place, damaged)


def parts() -> dict[str, bytes]:
    return contents_of(SOUND)


def test_this_file_s_own_zip_is_ours_when_nothing_is_odd():
    assert zipped(parts().items()) == SOUND == wrap(parts())


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", TruncatedError, "holds only 0 bytes"),
        (b"PK", TruncatedError, "holds only 2 bytes"),
        (b"PK\x03\x04", TruncatedError, "end is missing"),
        (b"\x7fELF" + bytes(100), NotAPackageError, "another kind of file"),
        (b"\x80\x04\x95" + bytes(100), NotAPackageError, "another kind of file"),
        (b"hello", NotAPackageError, "another kind of file"),
        (zipped([]), NotAPackageError, "another kind of file"),
        (zipped([("a.txt", b"a")]), NotAPackageError, "is a zip, but no wieldy package"),
        (zipped([("archive/data.pkl", b"\x80\x04.")]), NotAPackageError, "holds no manifest.json"),
        (zipped([*parts().items(), ("a.txt", b"")]), EntriesError, "once each; got .*a.txt"),
        (zipped([*parts().items(), ("../a", b"")]), EntriesError, r"once each; got .*\.\./a"),
        (zipped(list(parts().items())[:2]), EntriesError, "once each"),
        (zipped(reversed(parts().items())), DigestError, "bytes outside its parts"),
        (zipped(parts().items(), zipfile.ZIP_DEFLATED), EntriesError, "stored uncompressed"),
        (zipped(parts().items(), zipfile.ZIP_BZIP2), EntriesError, "stored uncompressed"),
        (zipped(parts().items(), date_time=(2026, 1, 1, 0, 0, 0)), DigestError, "bytes outside"),
        (zipped(parts().items(), external_attr=0o777 << 16), DigestError, "bytes outside"),
        (zipped(parts().items(), create_system=0), DigestError, "bytes outside"),
        (zipped(parts().items(), comment=b"hidden"), DigestError, "bytes outside"),
        (zipped(parts().items(), extra=b"\xca\xfe\x04\x00hide"), DigestError, "bytes outside"),
        (SOUND + b"tail", DigestError, "bytes outside"),
        (SOUND + SOUND, DigestError, "bytes outside"),
        (b"#!/bin/sh\n" + SOUND, NotAPackageError, "another kind"),
    ],
)  # fmt: skip
def test_another_file_is_refused_by_its_kind(place, data, kind, message):
    assert type(refusal(place, data)) is kind
    with pytest.raises(kind, match=message):
        read(place)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(place):
    error = refusal(place, zipped([*parts().items(), ("program.json", parts()["program.json"])]))
    assert isinstance(error, EntriesError)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(NotAPackageError, match=r"none.wieldy: there is no such file"):
        read(tmp_path / "none.wieldy")
    with pytest.raises(NotAPackageError, match="is a folder"):
        read(tmp_path)


def test_a_bomb_is_refused_before_it_grows(place):
    bomb = zipped([(name, b"\0" * 50_000_000) for name in NAMES], zipfile.ZIP_DEFLATED)
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        error = refusal(place, bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(error, EntriesError)
    assert peak < 5_000_000


def test_a_size_that_the_zip_only_claims_is_refused(place):
    damaged = bytearray(SOUND)
    directory = SOUND.index(b"PK\x01\x02")
    damaged[directory + 20 : directory + 28] = b"\xff\xff\xff\x7f" * 2
    tracemalloc.start()
    try:
        refusal(place, bytes(damaged))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000
