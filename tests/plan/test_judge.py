"""Mixes are judged after a brief training that heals, not after one that breaks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import wieldy
from wieldy.core.errors import DivergedError
from wieldy.core.ledger import Ledger
from wieldy.graph.network import GraphNetwork
from wieldy.plan.damage import BROKEN
from wieldy.plan.forecast import Forecast, Forecaster
from wieldy.plan.greedy import Point
from wieldy.plan.judge import Bench, Judge, Measured, Track
from wieldy.plan.mix import Mix
from wieldy.runtime.costs import cost_table
from wieldy.stats.collect import Stats
from wieldy.zoo.data.digits import optical_digits

pytestmark = pytest.mark.usefixtures("own_core")  # mixes are tried by training and timing

MIX = Mix(zeros={"2": 0.5})


@pytest.fixture(scope="module")
def network() -> GraphNetwork:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(64, 10))
    return wieldy.trace(net, torch.zeros(1, 1, 8, 8))


def judge(network: GraphNetwork, folder: Path, harm: dict[float, float], ledger: Ledger) -> Judge:
    """A judge whose brief trainings do harm by their rate; None of it: they diverge."""
    whole = optical_digits()
    data = wieldy.Data(whole.train.take(np.arange(50)), whole.validate.take(np.arange(50)), whole.test)
    table = cost_table("avx2", 1)
    assert table is not None

    def train(small: GraphNetwork, mix: Mix, rate: float, epochs: int) -> GraphNetwork:
        if rate not in harm:
            raise DivergedError("the loss is nan")
        healed = wieldy.trace(network, torch.zeros(1, 1, 8, 8))
        with torch.no_grad():
            healed.tensor("2.weight").mul_(1 + harm[rate] / epochs)
        return healed

    bench = Bench(
        network=network, data=data, budget=wieldy.Budget(bytes_ratio=0.5),
        forecaster=Forecaster(network, table), options=(), stats=Stats(), train=train, integer=None,
        threads=1, batch=1, tier="avx2", ledger=ledger,
    )  # fmt: skip
    return Judge(bench, folder)


@pytest.mark.parametrize(
    ("harm", "best"),
    [
        ({0.5: 1.0, 0.25: 0.1, 0.125: 0.3, 0.0625: 0.0}, 0.25),  # no further than where it gets worse
        ({1.0: 0.1, 0.5: 0.2, 0.25: 0.3, 0.125: 0.4}, 1.0),
        ({1.0: 0.5, 0.5: 0.4, 0.25: 0.3, 0.125: 0.2, 0.0625: 0.1}, 0.0625),
        ({0.0625: 0.1}, 0.0625),  # all others diverge
    ],
)
def test_a_track_takes_the_rate_at_which_its_mix_heals_best(
    network: GraphNetwork, tmp_path: Path, harm: dict[float, float], best: float
) -> None:
    ledger = Ledger(None)
    found = judge(network, tmp_path, harm, ledger)
    track = found.settled(Track("track", ()), MIX)
    asked = [key["rate"] for key, _ in ledger.of_kind("mix")]
    point = found.judged(measured_of(found), track)
    assert point is not None
    damages = {key["rate"]: value["damage"] for key, value in ledger.of_kind("mix")}
    assert track.rate == best
    assert point.damage == damages[best] == min(damages.values())
    assert asked == list(damages)  # what was tried is not trained again


def test_the_next_track_begins_to_look_where_the_last_one_was_best(
    network: GraphNetwork, tmp_path: Path
) -> None:
    ledger = Ledger(None)
    found = judge(network, tmp_path, {1.0: 0.1, 0.5: 0.2, 0.25: 0.3, 0.125: 0.4}, ledger)
    found.settled(Track("one", ()), MIX)
    before = len(ledger.of_kind("mix"))
    other = found.settled(Track("other", ()), Mix(zeros={"2": 0.75}))
    assert other.rate == 1.0
    assert [key["rate"] for key, _ in ledger.of_kind("mix")[before:]] == [0.5, 1.0]


def test_what_is_not_thinned_is_not_trained_to_find_a_rate(network: GraphNetwork, tmp_path: Path) -> None:
    ledger = Ledger(None)
    track = Track("track", ())
    assert judge(network, tmp_path, {}, ledger).settled(track, Mix(in_levels=True)) == track
    assert not ledger.of_kind("mix")


def test_a_longer_training_is_asked_for_by_its_own_name(network: GraphNetwork, tmp_path: Path) -> None:
    found = judge(network, tmp_path, {0.25: 0.2}, Ledger(None))
    measured, track = measured_of(found), Track("track", (), rate=0.25)
    point = found.judged(measured, track)
    assert point is not None
    assert 0 < found.damage_after_more(measured, track) < point.damage


def test_a_training_that_diverges_is_refused_and_not_the_end(network: GraphNetwork, tmp_path: Path) -> None:
    found = judge(network, tmp_path, {}, Ledger(None))
    track = found.settled(Track("track", ()), MIX)
    assert found.judged(measured_of(found), track) is None
    assert found.damage_after_more(measured_of(found), track) == BROKEN
    assert found.every() == ()


def measured_of(found: Judge) -> Measured:
    return found.measured(Track("track", ()), Point(MIX, Forecast(0.5, 0.5, 1.0, 640), 0.1), 1)
