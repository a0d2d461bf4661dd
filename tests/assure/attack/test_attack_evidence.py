"""Evidence on attacks can come out each way: proved, refuted, unknown where in doubt, and not measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from wieldy.assure.attack import evidence as attacks
from wieldy.assure.attack.search import Effort
from wieldy.assure.attack.twin import Seen, Twin, twin_of
from wieldy.assure.pair import Pair, opened
from wieldy.assure.pixels import Pixels
from wieldy.compress.quantize import quantize
from wieldy.compress.storage import smallest_formats
from wieldy.core.data import Data, Metric
from wieldy.core.records import Evidence
from wieldy.graph.trace import trace
from wieldy.methods.prune.zeros import ZerosConfig, apply
from wieldy.package.read import Package
from wieldy.package.save import save
from wieldy.stats.collect import Stats
from wieldy.zoo.data import fashion
from wieldy.zoo.networks.residual import residual28

MOST, RADII, EFFORT = 60, (0.02, 0.06), Effort(pgd=3, apgd=5)
Open = Callable[[str], Pair]


def digits() -> Data:
    few = tiny.digits()
    return Data(few.train, few.validate, few.test, normalisation=((0.5,), (0.5,)))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Opens the digits' network, beside itself, with zeros, in eight bits, or with noise in its weights."""
    folder, network = tmp_path_factory.mktemp("files"), tiny.trained()
    noisy, zeros = tiny.trained(), tiny.trained()
    with torch.no_grad():
        weight = noisy.tensor("conv2.weight")
        weight.add_(torch.randn(weight.shape, generator=torch.manual_seed(0)), alpha=0.2)
    list(apply(zeros, ("conv2", "conv3"), Stats(), ZerosConfig(sparsity=0.5)))
    zeros.formats = smallest_formats(zeros)
    made = {"original": network, "noisy": noisy, "zeros": zeros, "int8": quantize(network, digits())[0]}
    paths = {name: save(net, folder / f"{name}.wieldy") for name, net in made.items()}
    return lambda name: opened(paths[name], paths["original"], digits())


def measured(pair: Pair, **more: Any) -> Evidence:
    return attacks.evidence(pair, MOST, RADII, effort=EFFORT, **more)


def test_the_same_network_twice_loses_nothing(pair: Open) -> None:
    found = measured(pair("original"))
    assert found.verdict == "proved"
    assert found.kind == "attacks"
    for row in found.numbers["rows"]:
        assert row["original"] == row["package"]
        assert [row["drop_points"][end] for end in ("low", "value", "high")] == [0, 0, 0]
    assert [(row["attack"], row["epsilon"]) for row in found.numbers["rows"]] == [
        (name, epsilon) for epsilon in RADII for name in ("fgsm", "pgd", "apgd")
    ]
    assert found.numbers["twin"]["original"] == found.numbers["twin"]["package"]
    assert found.numbers["twin"]["package"]["value"] == 1
    assert (found.numbers["examples"], found.numbers["norm"], found.numbers["steps"]) == (MOST, "linf", 5)
    assert Evidence.from_json(found.to_json()) == found
    assert json.loads(found.to_json())["numbers"]["limit"]["package"] == 0


@pytest.mark.parametrize("kind", ["zeros", "int8"])
def test_packages_with_zeros_and_in_eight_bits_are_attacked_on_their_own_twins(pair: Open, kind: str) -> None:
    found = measured(pair(kind))
    numbers = found.numbers
    assert numbers["twin"]["package"]["value"] >= 0.99
    assert 0 < numbers["rows"][2]["package"] < numbers["clean"]["package"]
    for row in numbers["rows"]:
        drop = 100 * (row["original"] - row["package"])
        assert row["drop_points"]["value"] == pytest.approx(drop, abs=1e-9)
        assert row["drop_points"]["low"] <= drop + 1e-9 <= row["drop_points"]["high"] + 2e-9
    assert any("roundings" in text for text in found.assumptions) == (kind == "int8")


def test_a_package_that_is_easier_to_deceive_is_refuted_or_left_open_by_an_interval(pair: Open) -> None:
    noisy = pair("noisy")
    found = measured(noisy)
    drops = [row["drop_points"] for row in found.numbers["rows"] if row["attack"] == "apgd"]
    drop = max(drops, key=lambda interval: float(interval["low"]))
    assert found.verdict == "refuted"
    assert drop["low"] > 1
    open_ = measured(noisy, max_drop_points=(drop["low"] + drop["value"]) / 2)
    assert open_.verdict == "unknown"
    assert measured(noisy, max_drop_points=max(drop["value"] for drop in drops)).verdict == "proved"


def test_the_same_seed_gives_the_same_evidence(pair: Open) -> None:
    assert measured(pair("int8")).to_json() == measured(pair("int8")).to_json()


def test_a_twin_with_other_weights_leaves_the_verdict_unknown(
    pair: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(package: Package, of: Pixels) -> Twin:
        twin = twin_of(package, of)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.manual_seed(0)))
        return twin

    monkeypatch.setattr(attacks, "twin_of", broken)
    found = measured(pair("original"))
    assert found.verdict == "unknown"
    assert found.numbers["twin"]["package"]["value"] < 0.999
    assert "the twin of the original differs from the saved file" in found.assumptions[0]


def test_gradients_that_point_the_wrong_way_are_found_out(
    pair: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Backwards(Twin):
        def slope(self, pixels: Tensor, labels: Tensor) -> tuple[Seen, Tensor]:
            seen, signs = super().slope(pixels, labels)
            return seen, -signs

    monkeypatch.setattr(attacks, "twin_of", lambda package, of: Backwards(twin_of(package, of).network, of))
    found = measured(pair("original"))
    assert found.verdict == "unknown"
    assert found.numbers["twin"]["package"]["value"] == 1
    assert any("noise deceives the package more often" in text for text in found.assumptions)
    assert any("stand on the package though any picture may turn grey" in text for text in found.assumptions)


def test_what_is_no_picture_or_no_class_is_not_measured(tmp_path: Path) -> None:
    path = save(trace(tiny.plain(), torch.zeros(1, 4)), tmp_path / "plain.wieldy")
    rows = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3
    found = attacks.evidence(opened(path, path, Data(rows, rows, rows)), 10)
    assert (found.verdict, found.measured) == ("unknown", False)
    assert "no pictures" in found.numbers["reason"]

    pictures = np.zeros((30, 1, 8, 8), np.float32)
    path = save(tiny.traced(), tmp_path / "net.wieldy")
    near = Metric(name="nearness", scores=lambda out, to: -np.abs(out - to).mean(axis=1), labels=False)
    rows = pictures, np.zeros((30, 10), np.float32)
    found = attacks.evidence(opened(path, path, Data(rows, rows, rows, metric=near)), 10)
    assert found.numbers == {"reason": "targets are no class labels"}

    path = save(trace(tiny.Net(classes=1).eval(), torch.zeros(1, 1, 8, 8)), tmp_path / "one.wieldy")
    rows = pictures, np.zeros(30, np.int64)
    found = attacks.evidence(opened(path, path, Data(rows, rows, rows)), 10)
    assert found.numbers == {"reason": "a single class cannot be mistaken for another"}


def test_on_the_embedded_network_iterated_attacks_break_what_one_step_does_not(tmp_path: Path) -> None:
    full = fashion.embedded()
    test = full.test.inputs[:40], full.test.targets[:40]
    data = Data(full.train, full.validate, test, normalisation=full.normalisation)
    path = save(trace(residual28(), torch.zeros(1, 1, 28, 28)), tmp_path / "net.wieldy")
    found = attacks.evidence(
        opened(path, path, data), 24, (4 / 255,), effort=Effort(pgd=4, apgd=6, restarts=0)
    )
    rows = {row["attack"]: row["package"] for row in found.numbers["rows"]}
    assert rows["apgd"] <= rows["pgd"] < rows["fgsm"] < found.numbers["clean"]["package"]
    assert found.numbers["noise"]["package"] > rows["fgsm"]
    assert found.numbers["twin"]["package"]["value"] == 1
    assert found.verdict == "proved"
