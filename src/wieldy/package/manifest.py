"""What a package says of itself."""

from typing import Any, Literal

from pydantic import Field

from wieldy.core.config import Frozen

SCHEMA_VERSION = 1
MANIFEST, PROGRAM, TENSORS = "manifest.json", "program.json", "tensors.safetensors"
PARTS = (PROGRAM, TENSORS)


class Part(Frozen):
    """One file inside the package."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class InputCard(Frozen):
    """One input: what a caller hands in, and how raw values were normalised before that."""

    name: str
    shape: tuple[int | None, ...]  # None: the batch
    dtype: str
    mean: tuple[float, ...] = ()  # of the normalisation (raw - mean) / std that the caller applies
    std: tuple[float, ...] = ()


class Provenance(Frozen):
    """Where a package comes from. It holds no date and no timing: the same run gives the same bytes."""

    original: str = ""  # SHA-256 of the package that it was made from
    steps: tuple[dict[str, Any], ...] = ()  # configs of the methods and the training, in order
    recipe: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0


class Manifest(Frozen):
    """The first thing that is read of a package, and what everything else is held against."""

    kind: Literal["wieldy"] = "wieldy"
    schema_version: int = SCHEMA_VERSION
    wieldy: str
    parts: dict[str, Part]
    formats: dict[str, str]  # tensor -> format
    inputs: tuple[InputCard, ...]
    outputs: tuple[str, ...]
    classes: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()  # on which its speed was measured
    provenance: Provenance = Provenance()
