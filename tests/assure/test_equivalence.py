"""Evidence can come out either way: the same package proves it, a damaged one refutes it."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import wild

import wieldy
from wieldy.assure.checks import Checks
from wieldy.assure.equivalence import examine
from wieldy.assure.statistics import mcnemar
from wieldy.compress.apply import apply_plan
from wieldy.core import digest
from wieldy.core.data import Data, Metric
from wieldy.core.errors import DataError, PackageError, ShapeError
from wieldy.core.records import Evidence, Plan
from wieldy.graph.trace import trace
from wieldy.package.save import save

CLOSER = ("outside", "corruptions", "attacks", "bounds")
QUICK = Checks(**dict.fromkeys(CLOSER, 0))
ASPECTS = ("metric", "predictions", "classes", "calibration", "confidence", "runtime")


def named(*compared: Any, **settings: Any) -> dict[str, Evidence]:
    """Examine, without a closer look, and return the evidence by its kind."""
    found = {item.kind: item for item in examine(*compared, **{"checks": QUICK} | settings)}
    assert [found[kind].measured for kind in CLOSER] == [False] * 4
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The digits' network; with noise in its weights; without a few channels; without one class's row."""
    folder, network = tmp_path_factory.mktemp("files"), tiny.trained()
    torch.manual_seed(0)
    noisy, blind = tiny.trained(), tiny.trained()
    with torch.no_grad():
        noisy.tensor("conv2.weight").add_(torch.randn_like(noisy.tensor("conv2.weight")), alpha=0.5)
        blind.tensor("fc.bias")[0] = -1e4
    pruned = apply_plan(network, Plan(method={}, remove={"conv1": (0,), "conv2": (1, 2)}))
    found = {"original": network, "noisy": noisy, "blind": blind, "pruned": pruned}
    return {name: save(module, folder / f"{name}.wieldy") for name, module in found.items()}


@pytest.fixture(scope="module")
def same(files: dict[str, Path]) -> dict[str, Evidence]:
    return named(files["original"], files["original"], tiny.digits())


@pytest.fixture(scope="module")
def noisy(files: dict[str, Path]) -> dict[str, Evidence]:
    return named(files["noisy"], files["original"], tiny.digits())


def test_a_package_is_the_same_as_itself(same: dict[str, Evidence]) -> None:
    assert {name: same[name].verdict for name in ASPECTS} == dict.fromkeys(ASPECTS, "proved")
    drop = same["metric"].numbers["drop_points"]
    assert (drop["low"], drop["value"], drop["high"]) == (0, 0, 0)
    predictions = same["predictions"].numbers
    assert (predictions["flips"], predictions["fixed"], predictions["broken"]) == (0, 0, 0)
    assert predictions["first_flipped"] == []
    assert predictions["p_value"] == 1
    assert all(row["change_points"]["value"] == 0 for row in same["classes"].numbers["classes"])
    assert same["calibration"].numbers["original"] == same["calibration"].numbers["package"]
    assert not any(same["calibration"].numbers["change"][end] for end in ("low", "value", "high"))
    assert not any(same["confidence"].numbers["shift"][end] for end in ("low", "value", "high"))


def test_noise_in_the_weights_refutes_what_it_damages(noisy: dict[str, Evidence]) -> None:
    assert noisy["metric"].verdict == noisy["predictions"].verdict == noisy["classes"].verdict == "refuted"
    assert noisy["metric"].numbers["drop_points"]["low"] > 1
    assert noisy["classes"].numbers["worse"]
    assert noisy["runtime"].verdict == "proved"  # the runtime runs a bad network right


def test_figures_are_those_of_the_outputs(files: dict[str, Path], noisy: dict[str, Evidence]) -> None:
    data = tiny.digits()
    targets = data.test.targets
    before, after = (wieldy.open(files[name])(data.test.inputs) for name in ("original", "noisy"))
    old, new = before.argmax(1), after.argmax(1)
    predictions = noisy["predictions"].numbers
    fixed, broken = ((old != targets) & (new == targets)).sum(), ((old == targets) & (new != targets)).sum()
    assert (predictions["fixed"], predictions["broken"]) == (fixed, broken)
    assert predictions["flips"] == (old != new).sum()
    assert predictions["p_value"] == mcnemar(int(fixed), int(broken))
    metric = noisy["metric"].numbers
    assert metric["original"]["value"] == pytest.approx((old == targets).mean())
    assert metric["package"]["value"] == pytest.approx((new == targets).mean())
    assert metric["drop_points"]["value"] == pytest.approx(100 * (broken - fixed) / len(targets))
    for flip in predictions["first_flipped"]:
        index = flip["index"]
        assert (flip["target"], flip["original"], flip["package"]) == (targets[index], old[index], new[index])
        assert flip["original"] != flip["package"]


@pytest.mark.parametrize("which", ["same", "noisy"])
def test_rows_of_the_classes_add_up_to_the_whole(which: str, request: pytest.FixtureRequest) -> None:
    evidence = request.getfixturevalue(which)
    rows = evidence["classes"].numbers["classes"]
    total = sum(row["examples"] for row in rows)
    assert total == evidence["metric"].numbers["examples"] == tiny.digits().test.size
    for side in ("original", "package"):
        right = sum(row["examples"] * row[side] for row in rows)
        assert right / total == pytest.approx(evidence["metric"].numbers[side]["value"])
    assert all(row["p_value"] <= row["p_adjusted"] <= 1 for row in rows)


def test_bins_of_calibration_hold_every_example(same: dict[str, Evidence]) -> None:
    for side in ("bins_original", "bins_package"):
        assert sum(row["count"] for row in same["calibration"].numbers[side]) == tiny.digits().test.size


def test_a_network_that_forgot_one_class_is_found_out(files: dict[str, Path]) -> None:
    data = tiny.digits()
    rows = (data.test.inputs, data.test.targets)
    # a generous allowance: the mean passes, the class does not
    named_classes = Data(rows, rows, rows, classes=tuple(f"digit {k}" for k in range(10)))
    evidence = named(files["blind"], files["original"], named_classes, max_drop_points=20)
    assert evidence["metric"].verdict == "proved"
    assert evidence["classes"].verdict == "refuted"
    assert evidence["classes"].numbers["worse"] == ["digit 0"]
    row = evidence["classes"].numbers["classes"][0]
    assert (row["class"], row["package"]) == ("digit 0", 0)


def test_the_allowance_decides_the_verdict_on_the_metric(files: dict[str, Path]) -> None:
    data = tiny.digits()
    measured = named(files["noisy"], files["original"], data)["metric"].numbers["drop_points"]["value"]
    for allowed, verdict in ((measured, "proved"), (measured - 0.01, "refuted")):
        evidence = named(files["noisy"], files["original"], data, max_drop_points=allowed)
        assert evidence["metric"].verdict == verdict
        assert evidence["metric"].numbers["allowed_points"] == allowed


def test_fewer_channels_flip_predictions_that_are_listed(files: dict[str, Path]) -> None:
    evidence = named(files["pruned"], files["original"], tiny.digits())
    predictions = evidence["predictions"].numbers
    assert predictions["flips"] >= predictions["fixed"] + predictions["broken"] > 0
    assert len(predictions["first_flipped"]) == min(50, predictions["flips"])


def test_a_metric_where_less_is_better_is_judged_by_its_own_scale(files: dict[str, Path]) -> None:
    def wrong(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return 5.0 * (outputs.argmax(1) != targets)

    data = tiny.digits()
    error = Metric(name="error", scores=wrong, scale=5.0, higher_is_better=False)
    other = Data(data.train, data.validate, data.test, metric=error)
    one, two = (named(files["noisy"], files["original"], source)["metric"] for source in (data, other))
    assert two.numbers["drop_points"]["value"] == pytest.approx(one.numbers["drop_points"]["value"])
    assert two.verdict == one.verdict == "refuted"


def test_evidence_names_what_was_compared_and_survives_json(
    files: dict[str, Path], noisy: dict[str, Evidence]
) -> None:
    wanted = {"package": digest.of_file(files["noisy"]), "original": digest.of_file(files["original"])}
    for item in noisy.values():
        assert item.digests == wanted
        assert item.assumptions or not item.measured
        assert Evidence.from_json(item.to_json()) == item


def test_the_same_seed_gives_the_same_evidence(files: dict[str, Path], noisy: dict[str, Evidence]) -> None:
    again = named(files["noisy"], files["original"], tiny.digits())
    assert {k: v.to_json() for k, v in again.items()} == {k: v.to_json() for k, v in noisy.items()}


def test_the_runtime_is_refuted_where_it_differs_from_torch(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wieldy.assure import pair

    class Wrong:
        def __init__(self, path: Any) -> None:
            self.session = original(path)

        def __call__(self, x: np.ndarray) -> np.ndarray:
            found = np.array(self.session(x))
            found[0, 0] += 1e-3 * np.abs(found).max()
            return found

    original = pair.open_package
    monkeypatch.setattr(pair, "open_package", Wrong)
    evidence = named(files["original"], files["original"], tiny.digits())["runtime"]
    assert evidence.verdict == "refuted"
    assert evidence.numbers["largest_relative"] == pytest.approx(1e-3, rel=0.2)


def test_a_network_of_zeros_is_examined_too(files: dict[str, Path], tmp_path: Path) -> None:
    zero = tiny.trained()
    with torch.no_grad():
        for parameter in zero.parameters():
            parameter.zero_()
    evidence = named(save(zero, tmp_path / "zero.wieldy"), files["original"], tiny.digits())
    assert evidence["metric"].verdict == "refuted"
    assert evidence["runtime"].verdict == "proved"
    assert evidence["runtime"].numbers["largest_relative"] == 0


def test_networks_of_other_classes_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    other = trace(tiny.Net(classes=9), torch.zeros(1, 1, 8, 8))
    with pytest.raises(ShapeError, match=r"\(\d+, 10\).* and .*\(\d+, 9\)"):
        examine(save(other, tmp_path / "other.wieldy"), files["original"], tiny.digits())


def test_pictures_of_another_size_are_refused(files: dict[str, Path]) -> None:
    rows = np.zeros((20, 1, 7, 7), np.float32), np.arange(20) % 10
    with pytest.raises(ShapeError, match=r"1, 8, 8"):
        examine(files["original"], files["original"], Data(rows, rows, rows))


def test_labels_that_the_networks_have_no_output_for_are_refused(files: dict[str, Path]) -> None:
    rows = np.zeros((20, 1, 8, 8), np.float32), np.arange(20) % 11
    with pytest.raises(DataError, match=r"below 10.*got 10"):
        examine(files["original"], files["original"], Data(rows, rows, rows))


def test_a_damaged_file_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    damaged = bytearray(files["original"].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path = tmp_path / "damaged.wieldy"
    path.write_bytes(damaged)
    with pytest.raises(PackageError):
        examine(path, files["original"], tiny.digits())


def nearness(out: Any, to: Any) -> np.ndarray:
    """Minus the mean distance to both targets."""
    return -sum(
        np.abs(one - other).reshape(len(one), -1).mean(axis=1) for one, other in zip(out, to, strict=True)
    )


BOXES = Metric(name="nearness", scores=nearness, labels=False)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Data]:
    """A network with two outputs that are no classes, and one with noise; what the first says is true."""
    folder = tmp_path_factory.mktemp("heads")
    _, (x,), network = wild.traced("detector")
    noisy = copy.deepcopy(network)
    torch.manual_seed(0)
    with torch.no_grad():
        noisy.tensor("where.weight").add_(torch.randn_like(noisy.tensor("where.weight")), alpha=0.3)
    x = x.repeat(5, 1, 1, 1) + 0.1 * torch.randn(15, *x.shape[1:])
    targets = tuple(value.detach().numpy() for value in network(x))
    paths = {
        name: save(net, folder / f"{name}.wieldy") for name, net in (("original", network), ("noisy", noisy))
    }
    rows = (x.numpy(), targets)
    return paths, Data(rows, rows, rows, metric=BOXES)


def test_outputs_that_are_no_classes_are_compared_as_they_are(heads: tuple[dict[str, Path], Data]) -> None:
    paths, data = heads
    found = named(paths["original"], paths["original"], data)
    metric, outputs, runtime = (found[kind] for kind in ("metric", "outputs", "runtime"))
    assert {metric.verdict, outputs.verdict, runtime.verdict} == {"proved"}
    assert [row["error"] for row in outputs.numbers["outputs"]] == [[0, 0, 0]] * 2
    found = named(paths["noisy"], paths["original"], data)
    metric, outputs, runtime = (found[kind] for kind in ("metric", "outputs", "runtime"))
    assert metric.verdict == outputs.verdict == "refuted"
    assert runtime.verdict == "proved"
    same, apart = outputs.numbers["outputs"]
    assert same["error"][2] < 1e-5 < 0.1 < apart["error"][0] <= apart["error"][1] <= apart["error"][2]
    assert apart["cosine"][2] <= apart["cosine"][1] <= apart["cosine"][0] < 1
    worst = [item["error"] for item in apart["worst"]]
    assert worst == sorted(worst, reverse=True)
    assert worst[0] == apart["error"][2]


def test_labels_need_rows_of_class_logits(heads: tuple[dict[str, Path], Data]) -> None:
    paths, data = heads
    labelled = (data.test.inputs, np.zeros(15, np.int64))
    with pytest.raises(ShapeError, match="labels=False"):
        examine(
            paths["original"],
            paths["original"],
            Data(
                labelled,
                labelled,
                labelled,
                metric=Metric(name="none", scores=lambda out, to: np.zeros(len(to))),
            ),
        )
