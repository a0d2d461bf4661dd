"""Keys that packages are signed with."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def key_pair(folder: Path, name: str = "key", secret: bytes | None = None) -> tuple[Path, Path]:
    """Write a private key, encrypted with `secret`, and its public one; return where."""
    private, paths = Ed25519PrivateKey.generate(), (folder / f"{name}.pem", folder / f"{name}.pub.pem")
    hidden = BestAvailableEncryption(secret) if secret else NoEncryption()
    paths[0].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    paths[1].write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return paths
