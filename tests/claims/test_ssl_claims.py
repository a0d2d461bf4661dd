"""The claims of group lasso turn red where its mechanism is replaced by magnitude."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from wieldy.claims import ssl
from wieldy.core.records import Change, Claim
from wieldy.graph.bundles import Bundle
from wieldy.graph.cost import total_macs
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.graph.removal import remove_units
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook
from wieldy.methods.prune.ssl import SslConfig
from wieldy.methods.prune.zeros import ZerosConfig, apply, sparse_layers
from wieldy.stats.collect import Stats
from wieldy.train.fit import FitConfig
from wieldy.zoo.networks.lenet import Lenet300, seeded


def largest_stay(
    values: Mapping[str, Tensor], bundles: Sequence[Bundle], threshold: float
) -> dict[str, Tensor]:
    """Keep a group as it is, or drop it: nothing shrinks."""
    found = dict(values)
    for bundle in bundles:
        stays = (bundle.norms(values) > threshold).double()
        for member in bundle.members:
            found[member.tensor] = member.scaled(found[member.tensor], stays)
    return found


class SmallWeightsGo(Hook):
    """Zeroes weights by magnitude at the end, each for itself."""

    def __init__(self, config: SslConfig) -> None:
        self.config = config

    def finish(self, network: nn.Module) -> None:
        traced = need_traced(network, "SmallWeightsGo")
        layers, _ = sparse_layers(traced)
        list(apply(traced, layers, Stats(), ZerosConfig(sparsity=0.5)))

    def records(self):
        facts = {"groups": 400, "zero_groups": 0}
        yield Change(layer="all", method="fake", before=facts, after=facts, seed=0)


def without_small_channels(network: GraphNetwork) -> tuple[GraphNetwork, tuple[()]]:
    """Remove a third of the channels by the size of their filters, dead or not."""
    small, coupling, goes = copy.deepcopy(network), couple(network.program), {}
    for group in coupling.groups:
        (tensor, axis), units = next(iter(group.members.items()))
        weight = network.tensor(tensor).detach().movedim(axis, 0).flatten(1)
        order = torch.stack([weight[list(unit)].norm() for unit in units]).argsort()
        goes[group.name] = order[: group.size // 3 + 1].tolist()[: group.size - 1]
    program, kept = remove_units(network.program, coupling, goes)
    small.replace_program(program, kept)
    return small, ()


def by_multiplications(networks: list[GraphNetwork]) -> list[float]:
    """A clock that no other process disturbs."""
    macs = [total_macs(network.program) for network in networks]
    return [of / macs[0] for of in macs]


def verdicts(claims: list[Claim]) -> dict[str, str]:
    return {claim.what: claim.verdict for claim in claims}


def test_a_step_that_only_drops_is_not_optimal() -> None:
    found = verdicts(ssl.optimality((0,), largest_stay))
    assert found["regression: |gradient + penalty w / |w|| of the worst living group"] == "refuted"


def test_removing_small_channels_is_not_removing_dead_ones(monkeypatch) -> None:
    networks = ssl.varied(0)[-2:]
    monkeypatch.setattr(ssl, "varied", lambda seed: copy.deepcopy(networks))
    found = verdicts(ssl.equality((0,), without_small_channels))
    compacted = [verdict for what, verdict in found.items() if "compact" in what]
    assert compacted == ["refuted"] * 3


def test_small_weights_free_no_layer_and_save_no_milliseconds(monkeypatch) -> None:
    monkeypatch.setattr(ssl, "training", lambda seed, epochs: FitConfig(epochs=1, seed=seed))
    found = verdicts(ssl.depth((0,), SmallWeightsGo, ssl.compact))
    assert found["depth: blocks that collapsed to their shortcut, fewest of all seeds"] == "refuted"
    monkeypatch.setattr(ssl, "PENALTIES", (0.0, 0.4))
    monkeypatch.setattr(ssl, "times", by_multiplications)
    network = trace(seeded(Lenet300, 0).eval(), torch.zeros(1, 1, 28, 28))
    found = verdicts(ssl.trade_off((0,), lambda seed: network, SmallWeightsGo, ssl.compact))
    assert found["filters: survivors of the largest penalty over all groups, worst seed"] == "refuted"
    assert found["filters: milliseconds under the largest penalty over none"] == "refuted"
