"""What is certified is safe, both networks are asked the same, and what has no bounds says why."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from wieldy.assure.bounds import enclosure
from wieldy.assure.bounds.evidence import CLAIM, box_around, evidence
from wieldy.assure.pair import Pair, opened
from wieldy.assure.pixels import Pixels
from wieldy.core.data import Data, Metric
from wieldy.core.records import Evidence
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.package.save import save

EPSILONS = (0.004, 0.02, 0.3)


def network(loud: float = 1.0) -> nn.Sequential:
    """Classes are quarters of a plane; `loud` weighs what no answer should depend on."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4))
    model[0].weight.data = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, loud]])
    model[0].bias.data.zero_()
    model[2].weight.data = torch.tensor([[1.0, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]])
    model[2].bias.data.zero_()
    return model.eval()


def plane() -> Data:
    """Points at a distance of 0.01 or 0.1 of where another quarter begins; every fifth has a wrong label."""
    draw = np.random.default_rng(0)
    distance = np.where(np.arange(40) % 2, 0.01, 0.1)[:, None]
    points = np.concatenate([draw.choice([-1, 1], (40, 2)) * distance, np.zeros((40, 1))], 1)
    labels = 2 * (points[:, 0] < 0) + (points[:, 1] < 0)
    labels[::5] = (labels[::5] + 1) % 4
    rows = points.astype(np.float32), labels
    return Data(rows, rows, rows)


def paired(tmp_path: Path, package: nn.Module, original: nn.Module, data: Data, *shape: int) -> Pair:
    paths = [
        save(
            of if isinstance(of, GraphNetwork) else trace(of, torch.zeros(1, *shape)),
            tmp_path / f"{name}.wieldy",
        )
        for name, of in (("package", package), ("original", original))
    ]
    return opened(*paths, data)


def shares(found: Evidence, side: str) -> list[float]:
    return [row[side] for row in found.numbers["rows"]]


def test_shares_are_those_of_the_points_that_are_far_enough(tmp_path: Path) -> None:
    data = plane()
    pair = paired(tmp_path, network(0.0), network(0.0), data, 3)
    found = evidence(pair, 40, EPSILONS)
    points, labels = np.asarray(data.test.inputs), np.asarray(data.test.targets)
    right = labels == 2 * (points[:, 0] < 0) + (points[:, 1] < 0)
    wanted = [np.mean(right & (np.abs(points[:, 0]) > epsilon)) for epsilon in EPSILONS]
    assert found.verdict == "proved"
    assert found.claim == CLAIM
    assert shares(found, "package") == shares(found, "original") == pytest.approx(wanted)
    assert found.numbers["examples"] == 40
    assert found.numbers["epsilon"] == EPSILONS[0]
    assert set(found.numbers["mean_width"]) == {"ibp", "crown", "both"}
    assert any("inputs' own units" in text for text in found.assumptions)


def test_a_package_that_is_easier_to_turn_is_refuted(tmp_path: Path) -> None:
    found = evidence(paired(tmp_path, network(9.0), network(0.0), plane(), 3), 40, EPSILONS)
    assert found.verdict == "refuted"
    assert shares(found, "package")[1] < shares(found, "original")[1]
    other = evidence(paired(tmp_path, network(0.0), network(9.0), plane(), 3), 40, EPSILONS)
    assert other.verdict == "proved"


def test_where_nothing_is_certified_nothing_is_known(tmp_path: Path) -> None:
    found = evidence(paired(tmp_path, network(), network(), plane(), 3), 10, (0.5, 1.0))
    assert found.verdict == "unknown"
    assert shares(found, "package") == [0.0, 0.0]


def test_the_same_network_twice_is_certified_alike_on_pictures(tmp_path: Path) -> None:
    pair = paired(tmp_path, tiny.trained(), tiny.trained(), tiny.digits())
    found = evidence(pair, 4, (0.002, 0.01))
    assert shares(found, "package") == shares(found, "original")
    assert shares(found, "package")[0] > 0
    widths: dict[str, Any] = found.numbers["mean_width"]
    assert widths["both"] <= widths["crown"] < widths["ibp"]
    assert any("pixels" in text for text in found.assumptions)
    assert any("real arithmetic" in text for text in found.assumptions)


def test_no_attack_turns_what_is_certified(tmp_path: Path) -> None:
    data = tiny.digits()
    pair = paired(tmp_path, tiny.trained(), tiny.trained(), data)
    epsilon = 0.01
    (share,) = shares(evidence(pair, 6, (epsilon,)), "package")
    model, draw = tiny.trained(), torch.Generator().manual_seed(0)
    sample = pair.sample(6)
    of = Pixels(np.float32([0.5]), np.float32([0.5]), "")
    safe = 0
    for index, label in enumerate(np.asarray(sample.targets)):
        example = np.asarray(sample.inputs)[index : index + 1]
        low, high = (torch.from_numpy(end).float() for end in box_around(example, of, epsilon))
        x = low + torch.rand(200, *low.shape[1:], generator=draw) * (high - low)
        for _ in range(10):
            x = x.clamp(low, high).requires_grad_()
            (slope,) = torch.autograd.grad(
                nn.functional.cross_entropy(model(x), torch.full((200,), label)), x
            )
            x = x.detach() + 0.3 * (high - low) * slope.sign()
        safe += int((model(x.clamp(low, high)).argmax(1) == label).all())
    assert 0 < share <= safe / 6


def test_a_ball_of_pixels_is_cut_off_at_black_and_white_and_holds_its_centre() -> None:
    of = Pixels(np.float32([0.2, 0.4]), np.float32([0.5, 0.25]), "")
    pixels = np.zeros((1, 2, 1, 3))
    pixels[0, :, 0] = [0.0, 0.5, 1.0]
    inputs = of.to_inputs(pixels)
    low, high = box_around(inputs, of, 0.1)
    mean, std = (side.astype(float)[:, None, None] for side in (of.mean, of.std))
    np.testing.assert_allclose((low * std + mean)[0, 0, 0], [0.0, 0.4, 0.9], atol=1e-6)
    np.testing.assert_allclose((high * std + mean)[0, 1, 0], [0.1, 0.6, 1.0], atol=1e-6)
    assert ((low <= inputs) & (inputs <= high)).all()
    beyond = of.to_inputs(pixels + 3)
    low, high = box_around(beyond, of, 0.1)
    assert ((low <= beyond) & (beyond <= high)).all()


def test_what_has_no_bounds_says_which_operator(tmp_path: Path) -> None:
    original = network()
    package = copy.deepcopy(original)
    package[1] = nn.Sigmoid()
    found = evidence(paired(tmp_path, package, original, plane(), 3), 5, EPSILONS)
    assert not found.measured
    assert found.verdict == "unknown"
    assert "sigmoid (layer '1')" in found.numbers["reason"]


def test_outputs_that_are_no_logits_are_not_measured(tmp_path: Path) -> None:
    inputs, targets = np.zeros((20, 3), np.float32), np.zeros((20, 4), np.float32)
    error = Metric(name="error", scores=lambda y, t: -np.abs(y - t).mean(1), labels=False)
    data = Data(*[(inputs, targets)] * 3, metric=error)
    found = evidence(paired(tmp_path, network(), network(), data, 3), 5, EPSILONS)
    assert found.numbers == {"reason": "targets are no class labels"}


def test_where_one_network_is_too_large_for_crown_both_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = paired(tmp_path, network(), network(9.0), plane(), 3)
    monkeypatch.setattr(enclosure, "MOST_MACS", 5)
    found = evidence(pair, 5, EPSILONS)
    widths = found.numbers["mean_width"]
    assert widths["crown"] is None
    assert widths["ibp"] == widths["both"] > 0
    assert any("intervals alone: CROWN may take 5" in text for text in found.assumptions)


def test_no_further_example_is_begun_once_crown_has_spent_its_share(tmp_path: Path) -> None:
    pair = paired(tmp_path, tiny.trained(), tiny.trained(), tiny.digits())
    found = evidence(pair, 6, (0.002,), most_spent=1.0)
    assert found.numbers["examples"] == 1
    assert any(text.startswith("1 of 6 examples") for text in found.assumptions)
