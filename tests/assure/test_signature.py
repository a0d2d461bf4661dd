"""A signature is its key's alone, and covers every byte of the package and of the evidence beside it."""

import random
from pathlib import Path

import byhand
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from keys import key_pair

from wieldy.assure.signature import check_signature, evidence_path, sign, signature_path
from wieldy.core import digest
from wieldy.core.errors import ConfigError, DigestError, PackageError, SignatureError
from wieldy.package.save import save

SECRET = b"open sesame"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return key_pair(tmp_path, "key")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = save(byhand.conv_net(), tmp_path / "net.wieldy")
    evidence_path(path).write_text(f'{{"package": "{digest.of_file(path)}"}}')
    return path


def test_what_was_signed_is_what_is_checked(package, keys):
    private, public = keys
    assert sign(package, private) == signature_path(package) == package.with_name("net.wieldy.sig")
    made = check_signature(package, public)
    assert made.package.sha256 == digest.of_file(package)
    assert made.evidence is not None


def test_the_same_files_and_key_give_the_same_signature(package, keys):
    first = sign(package, keys[0]).read_bytes()
    assert sign(package, keys[0]).read_bytes() == first


def test_all_may_be_renamed_together(package, keys):
    sign(package, keys[0])
    moved = package.with_name("other.wieldy")
    for place in (signature_path, evidence_path):
        place(package).rename(place(moved))
    package.rename(moved)
    check_signature(moved, keys[1])


@pytest.mark.parametrize("place", [lambda path: path, evidence_path, signature_path])
def test_one_changed_byte_anywhere_is_refused(package, keys, place):
    sign(package, keys[0])
    whole = place(package).read_bytes()
    draw = random.Random(0)
    for at in {0, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(60))}:
        changed = bytearray(whole)
        changed[at] ^= 1 << draw.randrange(8)
        place(package).write_bytes(changed)
        with pytest.raises(SignatureError):
            check_signature(package, keys[1])
    place(package).write_bytes(whole + b"\n")
    with pytest.raises(SignatureError):
        check_signature(package, keys[1])
    place(package).write_bytes(whole)
    check_signature(package, keys[1])


def test_another_key_is_refused(package, keys, tmp_path):
    sign(package, keys[0])
    with pytest.raises(SignatureError, match=r"net.wieldy.sig: is not signed by .*other.pub.pem, or was"):
        check_signature(package, key_pair(tmp_path, "other")[1])


def test_evidence_that_is_missing_or_was_added_later_is_refused(package, keys):
    sign(package, keys[0])
    evidence = evidence_path(package).read_bytes()
    evidence_path(package).unlink()
    with pytest.raises(SignatureError, match=r"net.evidence.json: was signed and is not there"):
        check_signature(package, keys[1])
    sign(package, keys[0])
    evidence_path(package).write_bytes(evidence)
    with pytest.raises(SignatureError, match=r"net.evidence.json: was not signed: it was added later"):
        check_signature(package, keys[1])


def test_a_package_that_was_never_signed_is_not_taken_for_one(package, keys):
    with pytest.raises(SignatureError, match="the package is not signed"):
        check_signature(package, keys[1])


@pytest.mark.parametrize("text", [b"", b"{}", b"[" * 60_000, b"\xff", b"x" * 100_000, b'{"kind": "other"}'])
def test_what_is_no_signature_is_refused(package, keys, text):
    signature_path(package).write_bytes(text)
    with pytest.raises(SignatureError, match="is no signature of a package"):
        check_signature(package, keys[1])


def test_only_sound_packages_are_signed(package, keys):
    data = bytearray(package.read_bytes())
    data[200] ^= 1
    package.write_bytes(data)
    with pytest.raises((DigestError, PackageError)):
        sign(package, keys[0])
    assert not signature_path(package).exists()


def test_evidence_of_another_package_is_not_signed(package, keys):
    evidence_path(package).write_text('{"package": "0"}')
    with pytest.raises(PackageError, match=r"is not evidence of .*: it names another SHA-256"):
        sign(package, keys[0])


def test_an_encrypted_key_needs_its_passphrase(package, tmp_path):
    private, public = key_pair(tmp_path, "secret", SECRET)
    for wrong in (None, "open barley"):
        with pytest.raises(ConfigError, match=r"secret.pem: is no key in PEM that can be used"):
            sign(package, private, wrong)
    sign(package, private, SECRET.decode())
    check_signature(package, public)


def test_keys_of_another_kind_are_refused_with_the_way_to_make_one(package, keys, tmp_path):
    other = tmp_path / "ec.pem"
    other.write_bytes(
        generate_private_key(SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    for path in (other, keys[1], tmp_path / "none.pem", package):
        with pytest.raises(ConfigError, match="openssl genpkey -algorithm ed25519"):
            sign(package, path)
    with pytest.raises(ConfigError, match="openssl genpkey"):
        check_signature(package, keys[0])
