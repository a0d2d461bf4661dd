"""What a run's ledger is tied to: code, settings, network, data and machine of whoever goes on with it."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import wieldy
from wieldy.core import digest
from wieldy.core.config import Frozen
from wieldy.core.data import Arrays, Data, Split, each
from wieldy.core.errors import ConfigError
from wieldy.flow.state import Run
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program_json import program_to_json
from wieldy.runtime.environment import environment

KIND = "fingerprint"


def check_fingerprint(run: Run, network: GraphNetwork) -> None:
    """Note what a new run is tied to; refuse to go on with one that was tied to something else.

    Raises:
        ConfigError: something changed; names it, and both values.
    """
    now = fingerprint(run, network)
    for _, then in run.ledger.of_kind(KIND):
        changed = [name for name, value in now.items() if then.get(name) != value]
        if changed:
            name = changed[0]
            raise ConfigError(
                f"{run.folder}: cannot go on, since its {name} changed: it was {then.get(name)}, now it is "
                f"{now[name]}. Put that back, or begin anew in another folder."
            )
        return
    run.ledger.note(KIND, {}, now)


def fingerprint(run: Run, network: GraphNetwork) -> dict[str, str]:
    """Return, by name, everything that decides the bytes in which a run ends, measurements apart."""
    settings: list[Any] = [run.budget, run.method, run.recovery, run.quantize, run.planning]
    settings += [of for stage in run.stages for of in (stage.method, stage.budget, stage.recovery)]
    chosen = [of.model_dump() if isinstance(of, Frozen) else of for of in settings]
    return {
        "code": _digest_of_code(),
        "recipe": digest.of_value([*chosen, run.seed, run.batch, run.tier]),
        "network": digest.of_value([program_to_json(network.program), digest.of_arrays(network.arrays())]),
        "data": digest_of_data(run.data),
    } | environment(run.threads)


def digest_of_data(data: Data) -> str:
    """Return a digest of three sets; of a loader, whose order and contents may vary, what does not."""
    facts: dict[str, Any] = {"metric": data.metric.name, "classes": list(data.classes)}
    facts["normalisation"] = data.normalisation
    for name in ("train", "validate", "test"):
        split: Split = getattr(data, name)
        facts[name] = [split.size, list(split.shape), split.labels]
        if isinstance(split, Arrays):
            arrays = {f"inputs.{index}": of for index, of in enumerate(each(split.inputs))}
            arrays |= {f"targets.{index}": of for index, of in enumerate(each(split.targets))}
            facts[name].append(digest.of_arrays(arrays))
    return digest.of_value(facts)


@cache
def _digest_of_code() -> str:
    """Return a digest of every Python file of this package: an edit may change what it computes."""
    root = Path(wieldy.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(f"{path.relative_to(root)} {digest.of_file(path)}\n".encode())
    return total.hexdigest()
