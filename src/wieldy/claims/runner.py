"""Runs claims by name; only a verdict that differs from the one on record is a failure."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wieldy.claims import (
    attacks,
    bounds,
    directional,
    evidence,
    guided,
    importance,
    lobs,
    pivot,
    sparse_int8,
    sparsecnn,
    spp,
    ssl,
    svd,
    unify,
)  # fmt: skip
from wieldy.core.errors import ConfigError
from wieldy.core.files import write_atomic
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import Claim
from wieldy.runtime.environment import environment
from wieldy.runtime.session import usable_cores

Measure = Callable[[bool, Progress], list[Claim]]  # (quick, progress)
SYSTEMS: dict[str, tuple[str, Measure]] = {
    "importance": ("scored channels beat random ones before recovery", importance.measure),
    "lobs": ("removed weights cost what was predicted, and what stays makes up for them", lobs.measure),
    "ssl": ("group lasso ends at its optimum, and what dies leaves for good", ssl.measure),
    "spp": ("probabilistic pruning gives back what it took by mistake", spp.measure),
    "directional": ("groups vanish along the flat directions of the loss", directional.measure),
    "pivot": ("permutations gather what matters in blocks, and blocks pay", pivot.measure),
    "guided": ("zeros only where the engine's model says that they pay", guided.measure),
    "sparsecnn": ("direct sparse convolution is exact, predictable and fast", sparsecnn.measure),
    "sparse_int8": ("zeros in eight bits are exact on every instruction set", sparse_int8.measure),
    "unify": ("blocks of one magnitude cost less than zeros, and are stored as what they are", unify.measure),
    "svd": ("low rank weighted by the input's second moment beats plain", svd.measure),
    "bounds": ("no input of a box leaves the bounds on its outputs", bounds.measure),
    "attacks": ("stronger attacks deceive more, and what they find deceives the saved file", attacks.measure),
    "evidence": ("what plain accuracy does not see is caught", evidence.measure),
}
ALL = "all"


def run_claims(name: str, *, quick: bool = False, progress: Progress | None = None) -> list[Claim]:
    """Measure the claims of one system, or of all.

    Raises:
        ConfigError: there is no such system.

    Cost: `quick` ends within a minute for each system.
    """
    if name != ALL and name not in SYSTEMS:
        raise ConfigError(f"claims: must be one of {', '.join(SYSTEMS)} or {ALL}; got {name!r}.")
    found: list[Claim] = []
    for system, (_, measure) in SYSTEMS.items():
        if name in (system, ALL):
            start = time.perf_counter()
            claims = measure(quick, progress or Silent())
            each = (time.perf_counter() - start) / max(1, len(claims))
            found += [claim.model_copy(update={"seconds": round(each, 1)}) for claim in claims]
    return found


def write_claims(claims: list[Claim], path: Path, *, quick: bool) -> None:
    """Write measured claims as JSON, by system, each with what it was measured on; other systems' stay."""
    systems = written_claims(path)
    for name in dict.fromkeys(claim.name for claim in claims):
        rows = [claim.model_dump() | {"verdict": claim.verdict} for claim in claims if claim.name == name]
        systems[name] = {"environment": environment(usable_cores()), "quick": quick, "claims": rows}
    write_atomic(path, (json.dumps({"systems": systems}, indent=1) + "\n").encode())


def written_claims(path: Path) -> dict[str, Any]:
    """Return what a file of claims holds, by system; nothing where there is none.

    Raises:
        ConfigError: the file is something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["systems"]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"out: {path} holds no claims. Name a new file, or one that `wieldy claims` wrote.")
    return found
