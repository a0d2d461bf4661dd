"""Who vouches for a package: an Ed25519 signature that lies beside it and covers it and its evidence.

Source: RFC 8032. `NAME.wieldy.sig` is JSON: the SHA-256 and bytes of the package and of the evidence beside
it (or null), and the signature over `DOMAIN` and the canonical JSON of these. It names files by what they are
and not by their names, so all may be renamed together.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from wieldy.core import digest, strict_json
from wieldy.core.config import Frozen
from wieldy.core.errors import ConfigError, PackageError, SignatureError
from wieldy.core.files import write_atomic
from wieldy.core.optional import need
from wieldy.package.manifest import Part
from wieldy.package.read import read

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

DOMAIN = b"wieldy-signature-1\n"  # so that no signature made for another purpose is one of a package
SIGNATURE_LIMIT_BYTES = 1 << 16
MAKE_KEYS = (
    "openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out key.pub.pem"
)


class Signature(Frozen):
    """What is signed, and the signature."""

    kind: Literal["wieldy-signature"] = "wieldy-signature"
    schema_version: Literal[1] = 1
    package: Part
    evidence: Part | None
    signature: str = Field(pattern="^[0-9a-f]{128}$")

    def to_bytes(self) -> bytes:
        """Return the one file that says this."""
        return (self.to_json() + "\n").encode()


def signature_path(package: Path) -> Path:
    """Return where the signature of a package lies."""
    return package.with_name(package.name + ".sig")


def evidence_path(package: Path) -> Path:
    """Return where the evidence of a package lies, if there is any.

    Example:
        >>> evidence_path(Path("runs/demo/small.wieldy")).as_posix()
        'runs/demo/small.evidence.json'
    """
    return package.with_suffix(".evidence.json")


def sign(package: str | Path, key: str | Path, passphrase: str | None = None) -> Path:
    """Sign a sound package and the evidence beside it; return where the signature was written.

    Args:
        package: a package.
        key: an Ed25519 private key, PEM (PKCS 8).
        passphrase: of a key that is encrypted.

    Raises:
        PackageError: the package is not sound, or its evidence is another's.
        ConfigError: the key cannot be read, or is of another kind.
        DependencyError: cryptography is not installed.
        StorageError: the signature cannot be written.
    """
    package = Path(package)
    private = _private_key(Path(key), passphrase)
    found = read(package)
    evidence = _part(evidence_path(package))
    if evidence is not None and _evidence_of(evidence_path(package)) != found.sha256:
        raise PackageError(
            f"{evidence_path(package)}: is not evidence of {package}: it names another SHA-256. Move it "
            "away, or measure it again with wieldy verify."
        )
    of_package = Part(sha256=found.sha256, bytes=package.stat().st_size)
    signature = private.sign(_signed(of_package, evidence)).hex()
    made = Signature(package=of_package, evidence=evidence, signature=signature)
    write_atomic(signature_path(package), made.to_bytes())
    return signature_path(package)


def check_signature(package: str | Path, key: str | Path) -> Signature:
    """Return the signature of a package, if it is the key's and covers every byte of package and evidence.

    Args:
        package: a package; nothing in it is looked at but its bytes.
        key: an Ed25519 public key, PEM.

    Raises:
        SignatureError: there is none, it is another key's, or a file is not what was signed.
        ConfigError: the key cannot be read, or is of another kind.
        DependencyError: cryptography is not installed.
    """
    package = Path(package)
    public = _public_key(Path(key))
    from cryptography.exceptions import InvalidSignature

    made = _read(signature_path(package))
    try:
        public.verify(bytes.fromhex(made.signature), _signed(made.package, made.evidence))
    except InvalidSignature:
        raise SignatureError(
            f"{signature_path(package)}: is not signed by {key}, or was changed. Do not trust the "
            "package, or ask its sender which key is theirs."
        ) from None
    _check_file(package, made.package)
    _check_file(evidence_path(package), made.evidence)
    return made


def _evidence_of(path: Path) -> object:
    """Return the SHA-256 of the package that evidence names, or None where it is no evidence."""
    try:
        return strict_json.loads(path.read_bytes())["package"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None


def _check_file(path: Path, signed: Part | None) -> None:
    """A file must be there as it was signed, and not be there if none was."""
    found = _part(path)
    if found == signed:
        return
    if found is None:
        raise SignatureError(f"{path}: was signed and is not there. Fetch it again.")
    says = "is not what was signed" if signed else "was not signed: it was added later"
    raise SignatureError(f"{path}: {says}. Do not trust it; fetch it again.")


def _signed(package: Part, evidence: Part | None) -> bytes:
    """Return the bytes that are signed."""
    covered = {"package": package.model_dump(), "evidence": evidence and evidence.model_dump()}
    return DOMAIN + digest.canonical(covered)


def _part(path: Path) -> Part | None:
    return Part(sha256=digest.of_file(path), bytes=path.stat().st_size) if path.is_file() else None


def _read(path: Path) -> Signature:
    if not path.is_file():
        raise SignatureError(f"{path}: there is no such file: the package is not signed.")
    try:
        if path.stat().st_size > SIGNATURE_LIMIT_BYTES:
            raise ValueError(f"it has more than {SIGNATURE_LIMIT_BYTES:,} bytes")
        data = path.read_bytes()
        strict_json.loads(data)
        made = Signature.from_json(data)
        if made.to_bytes() != data:
            raise ValueError("bytes were added or moved")
    except (ValueError, RecursionError, ConfigError) as error:
        raise SignatureError(f"{path}: is no signature of a package ({error!s:.200}).") from None
    return made


def _private_key(path: Path, passphrase: str | None) -> "Ed25519PrivateKey":
    need("cryptography", "sign", "signing")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    secret = passphrase.encode() if passphrase is not None else None
    key = _loaded(path, lambda data: load_pem_private_key(data, secret))
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: must be an Ed25519 private key. Make one with: {MAKE_KEYS}")
    return key


def _public_key(path: Path) -> "Ed25519PublicKey":
    need("cryptography", "sign", "checking a signature")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = _loaded(path, load_pem_public_key)
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path}: must be an Ed25519 public key. Make one with: {MAKE_KEYS}")
    return key


def _loaded(path: Path, load: Callable[[bytes], object]) -> object:
    """Read a key; whatever is wrong with the file becomes one sentence."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Make keys with: {MAKE_KEYS}") from None
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path}: is no key in PEM that can be used ({error!s:.120}). Make keys with: {MAKE_KEYS}"
        ) from None
