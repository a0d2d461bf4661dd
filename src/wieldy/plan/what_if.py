"""What would make this network faster here? Each candidate is built, saved and timed; none is trained.

Speed does not depend on the values of weights, only on which are zero, how wide layers are and in how many
bits they compute, so the time of a candidate is that of a network recovered from it. What it would cost in
accuracy is another question.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from wieldy.compress.apply import apply_plan
from wieldy.compress.factor import factor
from wieldy.compress.load import load
from wieldy.compress.quantize import quantize_roughly
from wieldy.core.errors import ConfigError, WieldyError
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import Change, Plan, WhatIf
from wieldy.graph.cost_table import CostTable
from wieldy.graph.network import GraphNetwork
from wieldy.kernels.native import why_missing
from wieldy.methods.factor.svd import SvdConfig
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.prune.zeros import ZerosConfig, apply, sparse_layers, stored_formats
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.package.read import read
from wieldy.package.save import save
from wieldy.plan.ranking import rank
from wieldy.runtime.choose import predicted_ms
from wieldy.runtime.measure import Subject, measure, measured_costs
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier, has_bf16
from wieldy.runtime.zeros import stored_blocks
from wieldy.stats.collect import Stats

CHANNELS = (0.25, 0.5, 0.75)
SPARSITIES = (0.5, 0.75, 0.9, 0.95)
SHARES = (0.5, 0.25)  # of a weight's numbers that its two factors may have
BLOCKS = (1, 8)
MULTIPLE = 16
PROCESSES, ROUNDS = 3, 4  # enough to tell a gain, which all of them have to see


@dataclass(frozen=True)
class _Built:
    network: GraphNetwork
    formats: dict[str, str] = field(default_factory=dict)
    precision: str = "f32"


Build = Callable[[], _Built]


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

    Returns:
        Each candidate with its time, or the reason why it cannot be built.

    Raises:
        PackageError: the file is no sound package.
        TierError: this CPU lacks the tier.

    Cost: some sixteen measurements of a few seconds, and a minute once for the cost table.
    """
    network = load(path)
    tier, threads = tier or current_tier(), usable_cores() if threads is None else threads
    table = None if why_missing() else measured_costs(threads=threads, tier=tier)
    candidates = list(_candidates(network, tier, zeros=table is not None))
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="wieldy-") as folder,
        (progress or Silent()).task("timing candidates", len(candidates)) as task,
    ):
        dense = save(network, Path(folder) / "dense.wieldy", formats={})
        for name, build in candidates:
            try:
                built = build()
            except WieldyError as error:
                found.append(WhatIf(candidate=name, reason=str(error)))
                task.advance(1, f"{name}: not possible")
                continue
            saved = save(built.network, Path(folder) / "candidate.wieldy", formats=built.formats)
            timing = measure(
                Subject(dense), Subject(saved, built.precision), threads=threads, batch=batch, tier=tier,
                rounds=ROUNDS, processes=PROCESSES, ledger=ledger,
            )  # fmt: skip
            has_zeros = bool(stored_blocks(read(saved)))
            predicted = _predicted(saved, table) if table and has_zeros else None
            found.append(WhatIf(candidate=name, timing=timing, predicted_ratio=predicted))
            task.advance(1, f"{name}: {timing.ratio.value:.3f} of the milliseconds")
    return tuple(found)


def _candidates(network: GraphNetwork, tier: str, *, zeros: bool) -> Iterator[tuple[str, Build]]:
    """Yield switches, fewer channels, fewer bits, both, low rank, and zeros."""
    levels = IntegerConfig.fitting(tier)
    bits = levels.weight_bits
    if has_bf16(tier):
        yield "bf16", lambda: _Built(network, precision="bf16")
    yield f"int{bits}", partial(_in_levels, network, levels)
    for share in CHANNELS:
        yield f"channels -{share:.0%}", partial(_thinner, network, share)
    yield f"channels -50%, int{bits}", lambda: _in_levels(_thinner(network, 0.5).network, levels)
    for share in SHARES:
        yield f"svd {share:.0%}", partial(_factored, network, share)
    for block in BLOCKS if zeros else ():
        for sparsity in SPARSITIES:
            config = ZerosConfig(sparsity=sparsity, block=block)
            kind = "csr" if block == 1 else f"block_{block}x1"
            yield f"{kind} {sparsity:.0%} zeros", partial(_sparse, network, config)


def _thinner(network: GraphNetwork, share: float) -> _Built:
    removed = rank(network, Stats(), MagnitudeConfig()).removal(share, MULTIPLE)
    if not removed:
        raise ConfigError(f"no group of channels may lose any and keep a multiple of {MULTIPLE}")
    return _Built(apply_plan(network, Plan(method={"name": "magnitude"}, remove=removed)))


def _in_levels(network: GraphNetwork, config: IntegerConfig) -> _Built:
    small = quantize_roughly(network, config)
    return _Built(small, dict(small.formats))


def _factored(network: GraphNetwork, share: float) -> _Built:
    small, records = factor(network, Stats(), SvdConfig(share=share, weighted=False))
    if not any(isinstance(record, Change) for record in records):
        raise ConfigError("no layer has a rank that would save anything")
    return _Built(small)


def _sparse(network: GraphNetwork, config: ZerosConfig) -> _Built:
    small = copy.deepcopy(network)
    list(apply(small, sparse_layers(network)[0], Stats(), config))
    formats = stored_formats(network, config)
    if not formats:
        raise ConfigError("no layer can leave out its zeros")
    return _Built(small, formats)


def _predicted(path: Path, table: CostTable) -> float:
    """Return the cost table's milliseconds with zeros over those of the dense layers."""
    package = read(path)
    zeros, dense = predicted_ms(package.program, package.tensors, stored_blocks(package), table)
    return zeros / dense
