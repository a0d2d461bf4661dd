"""Zeros only where they pay: training guided by the engine's performance model.

Source: Park et al., "Faster CNNs with Direct Sparse Convolutions and Guided Pruning" (arXiv 1608.01409, ICLR
2017), its performance model and its guided sparsity learning: layers that zeros cannot make faster are not
pruned; one that falls to the lower edge of its useful band of densities is pruned no further; one that
settles above the upper edge gets its dense weights back. The step is L1 regularisation and a cut of small
weights,

    cut = 1 / (|change| / tau + 1 / (factor * tau)),

where `change` is what the last step did to the weight. Ours: the model is the cost table of this machine
(graph/cost_table.py), edges of regions counted; the L1 step is its proximal map, which yields exact zeros;
the penalty is in units of each layer's root mean square, so that one number serves layers of all scales. Our
table has time fall with density all the way down, so the lower edge is where all further zeros together would
save less than `gain` of the layer's dense time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from wieldy.core import rng
from wieldy.core.errors import DataError, TierError
from wieldy.core.records import Change, Refused
from wieldy.graph.cost_table import CostTable, Work, work_of
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.graph.ops import LINEAR
from wieldy.graph.program import Node
from wieldy.methods.contract import Hook, MethodConfig, Step
from wieldy.methods.prune.zeros import counts, sparse_layers, weighted
from wieldy.runtime.choose import LEAST_GAIN, choose
from wieldy.runtime.costs import cost_table
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier

NAME, FORM = "guided", "csr"
EDGES = "what enters and leaves its region costs more than its zeros save"


class GuidedConfig(MethodConfig):
    """How hard layers are pruned, and when the model stops it."""

    penalty: float = Field(default=1.0, ge=0)  # L1, times each layer's root mean square
    tau: float = Field(default=1e-4, gt=0)  # of the cut
    factor: float = Field(default=10.0, gt=0)  # of the cut
    density: float = Field(default=0.15, gt=0, lt=1)  # at which the model is asked which layers pay
    margin: float = Field(default=0.15, ge=0, lt=1)  # below the crossover, where the upper edge lies
    gain: float = Field(default=0.05, ge=0, lt=1)  # of the dense time: less than this is no reason to go on
    checks: int = Field(default=20, ge=2)  # in which the training is divided
    still: float = Field(default=0.02, ge=0)  # densities that differ by less than this share are the same
    patience: int = Field(default=5, ge=1)  # checks over which the density of a settled layer is the same
    bytes_weight: float | None = Field(  # times the penalty, of linear layers pruned for bytes alone
        default=None, ge=0
    )  # None: 1 in a run whose budget has bytes, else 0


@dataclass(frozen=True)
class Band:
    """Between which densities zeros are worth having in a layer."""

    density_min: float
    density_max: float


def useful_band(table: CostTable, work: Work, gain: float, margin: float) -> Band:
    """Return the useful band of a layer; its upper edge is 0 where zeros never pay.

    Example:
        >>> terms = {"dense/conv": (1.0, 0, 0, 0), "csr/conv": (0, 2.0, 0, 0, 0, 0.1)}
        >>> work = Work("conv", 9000, 9, 10, 1000, 0, 0, False)
        >>> useful_band(CostTable("", "", 1, terms, 0.0), work, 0.05, 0.0)
        Band(density_min=0.025, density_max=0.49444444444444446)
    """
    dense = table.ms("dense", work)
    span = table.ms(FORM, work, work.weights) - table.ms(FORM, work, 0)
    upper = (1 - margin) * table.crossover(FORM, work)
    lower = gain * dense / span if span > 0 else 0.0
    return Band(min(lower, upper), upper)


def cut(change: Tensor, tau: float, factor: float) -> Tensor:
    """Return the magnitude below which each weight becomes zero: smaller where the last step moved it more.

    Example:
        >>> [round(value, 6) for value in cut(torch.tensor([0.0, 0.1]), 1e-4, 10.0).tolist()]
        [0.001, 0.0005]
    """
    return 1 / (change.abs() / tau + 1 / (factor * tau))


def shrunk(weight: Tensor, amount: float) -> Tensor:
    """Return the proximal map of amount * |w|.

    Example:
        >>> shrunk(torch.tensor([0.5, -0.2, 0.05]), 0.1).tolist()
        [0.4000000059604645, -0.10000000149011612, 0.0]
    """
    return weight.sign() * (weight.abs() - amount).clamp(min=0)


def paying_layers(network: GraphNetwork, table: CostTable, density: float) -> dict[str, str]:
    """Return, for each layer that could hold zeros, why they would not pay at that density; "" where they do.

    The engine's own choice is asked, on random patterns of that density.
    """
    candidates, _ = sparse_layers(network, NAME)
    nodes = weighted(network, candidates, NAME)
    stored = {next(node.stored()): 1 for node in nodes}
    generator = rng.generator(0, NAME, "pattern")
    arrays = {
        name: (generator.random(network.tensor(name).shape) < density).astype(np.float32)
        if name in stored
        else network.tensor(name).detach().numpy()
        for name in network.program.tensors
    }
    chosen = choose(network.program, arrays, stored, table, LEAST_GAIN)
    found = {}
    for node in nodes:
        work = work_of(network.program, node)
        alone, dense = table.ms(FORM, work, round(density * work.weights)), table.ms("dense", work)
        times = (
            f"on {table.tier} it takes {alone:.4f} ms with {density:.0%} of its weights, {dense:.4f} ms dense"
        )
        if chosen.get(next(node.stored())) == 1:
            found[node.layer] = ""
        else:
            found[node.layer] = f"zeros do not pay: {times if alone >= (1 - LEAST_GAIN) * dense else EDGES}"
    return found


@dataclass
class Guide:
    """One layer that is being pruned."""

    band: Band
    tensor: str  # the weight's name
    dense: Tensor  # its weights before any of them went
    amount: float  # of the penalty, in the weight's own units
    for_bytes: bool = False  # pruned although its zeros save no time
    density: float = 1.0  # at the last check
    recent: tuple[float, ...] = ()  # densities at the last checks
    mask: Tensor | None = None  # once it is pruned no further
    verdict: str = ""


class Guided(Hook):
    """Prunes, while a network trains, the layers in which zeros pay on this machine, as far as they pay.

    Args:
        config: how hard, and when to stop.
        layers: at most these; default: all.
        table: of the machine and tier that the network shall run on; default: this machine's own.

    Raises:
        ConfigError: a layer has no weights, or, from `attach`, the network is not traced.
        TierError: no cost table is known for this tier.
        DataError: from `attach`: a weight is NaN or infinite.
    """

    settling_rate = 0.1  # as published

    def __init__(
        self,
        config: GuidedConfig | None = None,
        layers: Sequence[str] | None = None,
        table: CostTable | None = None,
    ) -> None:
        self.config = config or GuidedConfig()
        self.layers = layers
        self.table = table or table_of(current_tier(), usable_cores())
        self.guides: dict[str, Guide] = {}
        self._records: list[Change | Refused] = []
        self._before: dict[str, Tensor] = {}

    def attach(self, network: nn.Module) -> None:
        """Ask the model which layers pay, and between which densities."""
        traced = need_traced(network, "Guided")
        reasons = paying_layers(traced, self.table, self.config.density)
        _, refused = sparse_layers(traced, NAME)
        wanted = [node.layer for node in weighted(traced, self.layers or tuple(reasons), NAME)]
        self.guides, self._before, self._records = {}, {}, list(refused)
        for node in weighted(traced, tuple(reasons), NAME):
            if node.layer not in wanted:
                self._refuse(node.layer, "it was not among the layers to prune")
            elif not reasons[node.layer] or self._for_bytes(node):
                self.guides[node.layer] = self._guide(traced, node, bool(reasons[node.layer]))
            else:
                self._refuse(node.layer, reasons[node.layer])

    def _for_bytes(self, node: Node) -> bool:
        return node.op == LINEAR and bool(self.config.bytes_weight)

    def _refuse(self, layer: str, reason: str) -> None:
        self._records.append(Refused(layer=layer, method=NAME, reason=reason))

    def _guide(self, network: GraphNetwork, node: Node, for_bytes: bool) -> Guide:
        weight = network.tensor(node.weight).detach()
        if not torch.isfinite(weight).all():
            raise DataError(f"guided: {node.layer}.weight holds NaN or infinity. Check the weights.")
        config = self.config
        found = useful_band(self.table, work_of(network.program, node), config.gain, config.margin)
        if for_bytes:  # time gives no edges
            found = Band(0.0, 1.0)
        amount = config.penalty * float(weight.square().mean().sqrt())
        if for_bytes:
            amount *= config.bytes_weight or 0.0
        return Guide(found, node.weight, weight.clone(), amount, for_bytes)

    def before_forward(self, network: nn.Module) -> None:
        """Note the weights, to know what the step does to them."""
        traced = need_traced(network, "Guided")
        names = {layer: self.guides[layer].tensor for layer in self._open()}
        self._before = {layer: traced.tensor(name).detach().clone() for layer, name in names.items()}

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Shrink and cut; at a check stop layers at the lower edge, and restore those that settle above."""
        network = need_traced(step.network, "Guided")
        for layer, guide in self.guides.items():
            weight = network.tensor(guide.tensor)
            if guide.mask is not None:
                weight.mul_(guide.mask)
            elif not guide.verdict:
                change = weight - self._before[layer]
                smaller = shrunk(weight, step.learning_rate * guide.amount)
                smaller[smaller.abs() < cut(change, self.config.tau, self.config.factor)] = 0
                weight.copy_(smaller)
        done = self.config.checks * (step.index + 1) // step.total
        if done > self.config.checks * step.index // step.total:
            self._check(network, done)

    def _open(self) -> list[str]:
        return [layer for layer, guide in self.guides.items() if guide.mask is None and not guide.verdict]

    def _check(self, network: GraphNetwork, done: int) -> None:
        for layer in self._open():
            guide = self.guides[layer]
            weight = network.tensor(guide.tensor)
            density = float(weight.count_nonzero()) / weight.numel()
            guide.recent = (*guide.recent, density)[-self.config.patience - 1 :]
            same = min(guide.recent) >= (1 - self.config.still) * max(guide.recent)
            settled = same and len(guide.recent) > self.config.patience
            if density <= guide.band.density_min:
                guide.mask = weight != 0
                guide.verdict = "stopped at the lower edge"
            elif settled and density > guide.band.density_max:
                self._restore(weight, guide, f"stalled at a density of {density:.2f} (check {done})")
            guide.density = density

    def _restore(self, weight: Tensor, guide: Guide, verdict: str) -> None:
        weight.copy_(guide.dense)
        guide.verdict = (
            f"dense weights restored: {verdict}, above the upper edge {guide.band.density_max:.2f}"
        )

    @torch.no_grad()
    def finish(self, network: nn.Module) -> None:
        """Restore what ended above its band, and account for every layer."""
        traced = need_traced(network, "Guided")
        for layer, guide in self.guides.items():
            weight = traced.tensor(guide.tensor)
            guide.density = float(weight.count_nonzero()) / weight.numel()
            if guide.density > guide.band.density_max and not guide.verdict.startswith("dense"):
                self._restore(weight, guide, f"ended at a density of {guide.density:.2f}")
            if guide.verdict.startswith("dense"):
                self._refuse(layer, guide.verdict)
                continue
            edges = {"density_min": guide.band.density_min, "density_max": guide.band.density_max}
            self._records.append(
                Change(
                    layer=layer, method=NAME, before=counts(guide.dense), after=counts(weight),
                    seed=self.config.seed, figures={"density": guide.density} | edges,
                    note="for bytes alone" if guide.for_bytes else guide.verdict,
                )
            )  # fmt: skip

    def records(self) -> Iterator[Change | Refused]:
        """Yield what became of every layer."""
        yield from self._records


def table_of(tier: str, threads: int) -> CostTable:
    """Return the cost table of this machine for a tier.

    Raises:
        TierError: there is none: the tier is below avx2.
    """
    found = cost_table(tier, threads)
    if found is None:
        raise TierError(f"guided: no cost table is known for tier {tier}; zeros run from avx2 on.")
    return found
