"""The claims on pruning by chance hold, and those on its mechanism fall where magnitude takes its place."""

import pytest

from wieldy.claims.spp import Deterministic, Make, draws, identities, recovery, updates_of_a_fixed_curve
from wieldy.core.records import Claim
from wieldy.methods.prune.spp import Spp, SppConfig

DOUBT, BITS, RETURNS = (
    "groups of 24 long enough in doubt to be judged: at least all that go",
    "share of weights left out whose bits a step leaves alone",
    "share of suppressed important columns whose p returns to 0",
)


def mechanism(make: Make) -> list[Claim]:
    return [*draws(make), *recovery(1, make)]


def test_a_fake_that_removes_by_magnitude_turns_the_claims_on_chance_red() -> None:
    assert {claim.what for claim in mechanism(Deterministic) if claim.changed} == {DOUBT, BITS, RETURNS}


def test_the_method_itself_changes_no_verdict() -> None:
    assert [claim.what for claim in [*mechanism(Spp), *identities()] if claim.changed] == []


@pytest.mark.parametrize("groups", [4, 20])
def test_a_fixed_curve_is_never_faster(groups: int) -> None:
    config = SppConfig(ratio=0.5)
    assert updates_of_a_fixed_curve(groups, config) >= 20
