"""The claims hold for the method and fall for magnitude in its place."""

import math
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from wieldy.claims import directional as claims
from wieldy.claims.landscape import lanczos, on_curve, rise, share_within
from wieldy.core.records import Claim
from wieldy.graph.network import need_traced
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook
from wieldy.methods.prune.directional import DirectionalConfig
from wieldy.zoo.networks.lenet import seeded


class Cut(Hook):
    """Magnitude in the method's place: trains plainly, and cuts at the end."""

    def __init__(self, config: DirectionalConfig) -> None:
        self.config = config

    def finish(self, network: nn.Module) -> None:
        cut = claims.cut_filters(need_traced(network, "Cut"), self.config.sparsity)
        network.load_state_dict(cut.state_dict())


def cut_at_the_end(
    problem: claims.Regression, config: DirectionalConfig, marks: Sequence[int]
) -> list[tuple[Tensor, float]]:
    """Gradient descent, and then the smallest groups go."""
    share = 0.1 if config.c else config.sparsity
    count = round(share * claims.UNKNOWNS / claims.GROUP)
    return [(claims.cut_groups(weights, count), 0.1) for weights in claims.descent(problem, marks)]


def verdicts(found: list[Claim]) -> dict[str, str]:
    return {claim.what: claim.verdict for claim in found}


@pytest.fixture
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "STEPS", 4000)
    monkeypatch.setattr(claims, "FEW", 500)
    monkeypatch.setattr(claims, "TRAINING", claims.TRAINING.model_copy(update={"epochs": 10}))
    monkeypatch.setattr(claims, "LONGER", claims.LONGER.model_copy(update={"epochs": 1}))
    monkeypatch.setattr(claims, "rise", partial(rise, steps=30))
    monkeypatch.setattr(
        claims.subjects, "trained", lambda kind, seed: trace(seeded(kind, seed), torch.zeros(1, 1, 28, 28))
    )


@pytest.mark.usefixtures("shorter")
def test_on_the_regression_the_method_holds_and_magnitude_does_not() -> None:
    real, fake = (verdicts(claims.on_regression(0, f)) for f in (claims.dual_averaging, cut_at_the_end))
    assert set(real.values()) == {"proved"}
    sound = {
        "exponent of the loss with a fixed penalty",
        "groups that are zero, of 40",
    }  # not of the mechanism
    assert {what for what, verdict in fake.items() if verdict == "proved"} == sound


@pytest.mark.usefixtures("shorter")
def test_on_a_network_magnitude_in_the_methods_place_refutes_curve_and_curvature() -> None:
    found = verdicts(claims.on_curve(0, Cut) + claims.in_curvature(0, Cut))
    assert found.pop("filters that are zero, less those wanted") == "proved"
    assert set(found.values()) == {"refuted"}


def test_reference_lanczos_finds_the_largest_eigenvectors() -> None:
    draw = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(60, 60, generator=draw)).Q
    values = torch.linspace(0, 1, 60).pow(4)
    matrix = basis * values @ basis.T
    found = lanczos(lambda v: matrix @ v, 60, steps=40, count=3, seed=1)
    for row, wanted in zip(found, basis.T[-3:], strict=True):
        assert abs(float(row @ wanted)) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(found @ found.T, torch.eye(3), atol=1e-4, rtol=0)


def test_a_share_is_of_the_square() -> None:
    directions = torch.eye(4)[:2]
    assert share_within(torch.tensor([1.0, 1.0, 1.0, 1.0]), directions) == 0.5


def test_a_curve_begins_and_ends_where_it_shall() -> None:
    a, b, c = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(on_curve(a, b, c, 0.0), a)
    torch.testing.assert_close(on_curve(a, b, c, 1.0), c)


def test_reference_group_lasso_at_its_minimum_meets_its_conditions() -> None:
    problem, penalty = claims.regression(0), 0.1
    weights = claims.lasso_minimum(problem, penalty)
    slope, parts = claims.in_groups(problem.gradient(weights)), claims.in_groups(weights)
    limit = penalty * math.sqrt(claims.GROUP)
    active = parts.norm(dim=1) > 0
    direction = parts[active] / parts[active].norm(dim=1, keepdim=True)
    assert float((slope[active] + limit * direction).abs().max()) < 1e-8
    assert float(slope[~active].norm(dim=1).max()) <= limit
