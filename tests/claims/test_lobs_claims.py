"""A surgeon that prunes by magnitude and corrects nothing is found out."""

from collections.abc import Iterator, Sequence

import pytest

from wieldy.claims import lobs
from wieldy.core.records import Change, Refused
from wieldy.graph.network import GraphNetwork
from wieldy.methods.prune.lobs import LobsConfig
from wieldy.methods.prune.zeros import ZerosConfig
from wieldy.methods.prune.zeros import apply as by_magnitude
from wieldy.stats.collect import Stats
from wieldy.zoo.networks.lenet import Lenet300


def fake(
    network: GraphNetwork, scope: Sequence[str], stats: Stats, config: LobsConfig
) -> Iterator[Change | Refused]:
    plain = ZerosConfig(sparsity=config.sparsity)
    for record in by_magnitude(network, scope, stats, plain):
        assert isinstance(record, Change)
        yield record.model_copy(update={"figures": {"predicted": 0.0}})


def test_layers_pruned_by_magnitude_are_refuted() -> None:
    found = {claim.what: claim.verdict for claim in lobs.layers(Lenet300, fake)}
    for what, verdict in found.items():
        if "sum of losses" in what or ("exact over" in what and "worst" in what) or "paper over" in what:
            assert verdict == "refuted", what
    assert sum(verdict == "refuted" for verdict in found.values()) >= 4


def test_accuracy_of_magnitude_without_training_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobs, "with_equal_rows", lambda network, *_: network)
    found = {
        claim.what: claim.verdict for claim in lobs.accuracy_claims([lobs.accuracies(0, fake, lobs.SHARES)])
    }
    assert [verdict for what, verdict in found.items() if "no training" in what] == ["refuted"] * 2
    assert found["90 % zeros: points that it loses, minus magnitude's"] == "refuted"
