"""The claims of pivoting turn red where magnitude, and nothing else, chooses what goes together."""

from collections.abc import Iterator

import numpy as np
import pytest

from wieldy.claims import pivot as claims
from wieldy.core.progress import Silent
from wieldy.graph.network import GraphNetwork
from wieldy.graph.pivoting import Blocks
from wieldy.methods.prune.pivot import Pivot


class Torn(Pivot):
    """Rows move, and what reads them does not follow."""

    def fold(self, network: GraphNetwork) -> None:
        for layer in self._layers:
            weight = network.tensor(layer.tensor).data
            weight.copy_(weight.flip(0))


def backwards(scores: np.ndarray, blocks: Blocks, count: int) -> Iterator[tuple[Blocks, float]]:
    """Turns that deal out rows by magnitude again."""
    yield blocks, 0.0
    yield claims.Sorted.find_blocks(scores, count), 0.0


def verdicts(found: list[claims.Claim]) -> list[str]:
    return [claim.verdict for claim in found]


def test_searches_and_folding_are_proved_and_their_fakes_refuted() -> None:
    seeds = claims.SEEDS[:1]
    real = [claims.of_planted(seeds), claims.of_turns(seeds), claims.of_folding(Pivot)]
    assert verdicts(real) == ["proved"] * 3
    fake = [
        claims.of_planted(seeds, claims.Sorted.find_blocks),
        claims.of_turns(seeds, backwards),
        claims.of_folding(Torn),
    ]
    assert verdicts(fake) == ["refuted"] * 3


def test_blocks_by_magnitude_are_behind_drawn_ones() -> None:
    found = claims.of_blocks(claims.SEEDS[:1], Silent(), claims.Sorted)
    drawn, _, by_magnitude = verdicts(found)  # neighbours are so poor that magnitude beats them too
    assert (drawn, by_magnitude) == ("refuted", "refuted")


def test_measure_puts_the_claims_together_and_times_nothing_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {Pivot: 3.0, claims.Drawn: 2.0, claims.InPlace: 1.0, claims.Sorted: 2.0, claims.Mask: 4.0}
    monkeypatch.setattr(claims, "points", lambda hook, seed: points[type(hook)])
    found = claims.measure(True, Silent(), find=claims.Sorted.find_blocks, speed=False)
    assert verdicts(found) == ["refuted", *["proved"] * 7]
    assert [claim.measured for claim in found[3:]] == [1.0, 2.0, 1.0, 2.0, 2.0]
    assert all(claim.name == "pivot" and claim.expected == "proved" for claim in found)
    found = claims.measure(True, Silent(), make=claims.Sorted, speed=False)
    assert verdicts(found)[3:] == ["refuted", "proved", "refuted", *["proved"] * 2]


def test_a_tier_that_this_cpu_lacks_is_said_and_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    said = Silent()
    monkeypatch.setattr(said, "say", lines.append)
    monkeypatch.setattr(claims, "available_tiers", lambda: ("sse",))
    assert list(claims.of_speed(True, said)) == []
    assert len(lines) == len(claims.TIERS)
