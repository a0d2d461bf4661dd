"""What would make this network faster here? Each candidate is built, saved and timed; none is trained.

Speed does not depend on the values of weights, only on which are zero and how wide layers are, so the time
of a candidate is that of a network recovered from it. What it would cost in accuracy is another question.
"""

import copy
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wieldy.compress.apply import apply_plan
from wieldy.compress.load import load
from wieldy.core.errors import WieldyError
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import Plan, WhatIf
from wieldy.graph.cost_table import CostTable
from wieldy.graph.network import GraphNetwork
from wieldy.kernels.native import why_missing
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.prune.zeros import ZerosConfig, apply, sparse_layers, stored_formats
from wieldy.package.read import read
from wieldy.package.save import save
from wieldy.plan.ranking import rank
from wieldy.runtime.choose import predicted_ms
from wieldy.runtime.measure import Subject, measure, measured_costs
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier
from wieldy.runtime.zeros import stored_blocks
from wieldy.stats.collect import Stats

CHANNELS = (0.25, 0.5, 0.75)
SPARSITIES = (0.5, 0.75, 0.9, 0.95)
BLOCKS = (1, 8)
MULTIPLE = 16
ROUNDS = 20


@dataclass(frozen=True)
class _Built:
    name: str
    network: GraphNetwork
    formats: dict[str, str]


def what_if(
    path: str | Path,
    *,
    threads: int | None = None,
    batch: int | None = None,
    tier: str | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> tuple[WhatIf, ...]:
    """Time candidates for making a saved network faster on this machine.

    Args:
        path: a package; zeros that it has are filled by its dense form.
        threads, batch, tier: what it is timed with; see `wieldy.runtime.measure`.
        ledger: measurements that it holds are read back.

    Raises:
        PackageError: the file is no sound package.
        TierError: this CPU lacks the tier.

    Cost: some twelve measurements of a second or two, and twenty seconds once for the cost table.
    """
    network = load(path)
    tier, threads = tier or current_tier(), usable_cores() if threads is None else threads
    table = None if why_missing() else measured_costs(threads=threads, tier=tier)
    found = []
    count = len(CHANNELS) + (len(SPARSITIES) * len(BLOCKS) if table else 0)
    with (
        tempfile.TemporaryDirectory(prefix="wieldy-") as folder,
        (progress or Silent()).task("timing candidates", count) as task,
    ):
        dense = save(network, Path(folder) / "dense.wieldy")
        for built in _candidates(network, zeros=table is not None):
            saved = save(built.network, Path(folder) / "candidate.wieldy", formats=built.formats)
            timing = measure(
                Subject(dense), Subject(saved), threads=threads, batch=batch, tier=tier, rounds=ROUNDS,
                ledger=ledger,
            )  # fmt: skip
            predicted = _predicted(saved, table) if table and built.formats else None
            found.append(WhatIf(candidate=built.name, timing=timing, predicted_ratio=predicted))
            task.advance(1, f"{built.name}: {timing.ratio.value:.3f} of the milliseconds")
    return tuple(found)


def _candidates(network: GraphNetwork, *, zeros: bool) -> Iterator[_Built]:
    """Yield networks with fewer channels, then with zeros."""
    try:
        ranking = rank(network, Stats(), MagnitudeConfig())
        removals = [ranking.removal(share, MULTIPLE) for share in CHANNELS]
    except WieldyError:  # nothing in it may lose channels
        removals = []
    for share, removed in zip(CHANNELS, removals, strict=False):
        plan = Plan(method={"name": "magnitude"}, remove=removed)
        yield _Built(f"channels -{share:.0%}", apply_plan(network, plan), {})
    for block in BLOCKS if zeros else ():
        for sparsity in SPARSITIES:
            config = ZerosConfig(sparsity=sparsity, block=block)
            sparse = copy.deepcopy(network)
            list(apply(sparse, sparse_layers(network)[0], Stats(), config))
            formats = stored_formats(network, config)
            yield _Built(f"{next(iter(formats.values()))} {sparsity:.0%} zeros", sparse, formats)


def _predicted(path: Path, table: CostTable) -> float:
    """Return the cost table's milliseconds with zeros over those of the dense layers."""
    package = read(path)
    zeros, dense = predicted_ms(package.program, package.tensors, stored_blocks(package), table)
    return zeros / dense
