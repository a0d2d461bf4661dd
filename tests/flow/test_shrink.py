"""The whole run, with real measurements, on a small network of the user's own."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import wild
from torch import nn

import wieldy
import wieldy.core.data
from wieldy.cli.show import record_lines
from wieldy.compress.quantize import TRIED
from wieldy.core.errors import BudgetError, ConfigError, DataError, ShapeError, TraceError
from wieldy.core.records import RunRecord
from wieldy.flow import mixed
from wieldy.flow.state import Planning, Recovery
from wieldy.methods.contract import MethodConfig
from wieldy.methods.factor.svd import SvdConfig
from wieldy.methods.prune.guided import table_of
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.prune.pivot import PivotConfig
from wieldy.methods.prune.zeros import ZerosConfig, block_scores
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.package.read import read
from wieldy.plan import judge, search
from wieldy.train.fit import FitConfig, fit
from wieldy.zoo.data.digits import optical_digits

QUICK = Recovery(fit=FitConfig(epochs=2, learning_rate=0.02))


def small_net(width: int = 64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(width * 16, 10),
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick_search(one_process: None) -> Iterator[None]:
    """The search, too, asks one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "PROCESSES", 1)
        yield


@pytest.fixture(scope="module")
def data() -> wieldy.Data:
    return optical_digits()


@pytest.fixture(scope="module")
def trained(data: wieldy.Data) -> nn.Module:
    return fit(small_net(), data, config=FitConfig(epochs=3, learning_rate=0.05))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, trained: nn.Module, data: wieldy.Data) -> Path:
    out = tmp_path_factory.mktemp("run")
    budget = wieldy.Budget(latency_ratio=0.7, max_drop_points=5)
    wieldy.shrink(trained, data, budget, out=out, recovery=QUICK, method=MagnitudeConfig())
    return out


def test_a_run_leaves_packages_evidence_record_page_and_ledger(finished: Path) -> None:
    packages = {"original.wieldy", "small.wieldy"}
    said = {"small.evidence.json", "record.json", "report.html", "report.md", "ledger.jsonl", "log.jsonl"}
    assert {path.name for path in finished.iterdir()} == packages | said


def test_the_record_says_what_was_measured_and_accounts_for_every_layer(finished: Path) -> None:
    record = RunRecord.from_json((finished / "record.json").read_text())
    assert record.timing.ratio.value <= 0.75
    assert record.package.parameters < record.original.parameters
    assert {item.layer for item in (*record.changes, *record.refused)} == {"0", "3", "7"}
    assert [item.layer for item in record.refused] == ["7"] or record.changes[-1].after["out_channels"] == 10
    assert sum(point.chosen for point in record.candidates) == 1
    assert record.environment["tier"] == record.timing.tier
    assert len(record.recovery) == 2


def test_channels_that_go_in_rounds_leave_what_was_planned_and_train_as_many_epochs(
    tmp_path: Path, trained: nn.Module, data: wieldy.Data
) -> None:
    how = QUICK.model_copy(update={"rounds": 2, "fit": QUICK.fit.model_copy(update={"epochs": 3})})
    budget = wieldy.Budget(macs_ratio=0.4, max_drop_points=50)
    wieldy.shrink(trained, data, budget, out=tmp_path, recovery=how, method=MagnitudeConfig())
    record = RunRecord.from_json((tmp_path / "record.json").read_text())
    chosen = next(point for point in record.candidates if point.chosen)
    assert (record.package.parameters, record.package.macs) == (chosen.parameters, chosen.macs)
    assert len(record.recovery) == 3


def test_a_mix_meets_its_budget_says_what_it_weighed_and_goes_on_after_a_crash(
    tmp_path: Path, trained: nn.Module, data: wieldy.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed, "agreed_costs", lambda *, threads, tier: table_of(tier, threads))
    monkeypatch.setattr(judge.Judge.measured, "__defaults__", (1,))
    budget = wieldy.Budget(bytes_ratio=0.3, max_drop_points=50)
    settings = Planning(kinds=("channels", "zeros"), keep=("re:7",), examples=300, eight_bits=False, curve=1)
    path = wieldy.shrink(trained, data, budget, out=tmp_path, recovery=QUICK, planning=settings)
    record = RunRecord.from_json((tmp_path / "record.json").read_text())
    assert record.verdict == "met"
    assert record.package.bytes <= 0.3 * record.original.bytes
    assert sum(point.chosen for point in record.mixes) == 1
    tracks = {point.track for point in record.mixes}
    assert tracks >= {"channels alone", "zeros alone"}
    assert "What a mix of methods keeps" not in (tmp_path / "report.html").read_text()
    assert "what a mix of methods keeps" in (tmp_path / "report.html").read_text()
    layers = {item.layer for item in (*record.changes, *record.refused)}
    assert {"0", "3", "7"} <= layers
    assert not [item for item in record.changes if item.layer == "7" and item.method == "zeros"]
    again = wieldy.shrink(
        trained, data, budget, out=tmp_path / "again", recovery=QUICK, planning=settings, replay=tmp_path
    )
    assert again.read_bytes() == path.read_bytes()


def test_a_run_with_zeros_stores_them_away_and_accounts_for_every_layer(
    tmp_path: Path, trained: nn.Module, data: wieldy.Data
) -> None:
    budget = wieldy.Budget(bytes_ratio=0.5, max_drop_points=50)
    method = ZerosConfig(sparsity=0.8, block=8)
    path = wieldy.shrink(trained, data, budget, out=tmp_path, recovery=QUICK, method=method)
    package, record = read(path), RunRecord.from_json((tmp_path / "record.json").read_text())
    assert {name for name, kind in package.manifest.formats.items() if kind == "block_8x1"} == {
        "3.weight",
        "7.weight",
    }
    assert path.stat().st_size < 0.5 * (tmp_path / "original.wieldy").stat().st_size
    assert [item.layer for item in record.refused] == ["0"]
    shares = [item.after["nonzero"] / item.after["weights"] for item in record.changes]
    np.testing.assert_allclose(shares, 0.2, atol=0.03)
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("asked", "method"),
    [
        ({"bytes_ratio": 0.3}, ZerosConfig(sparsity=0.75, inputs=4)),
        ({"latency_ratio": 0.9}, ZerosConfig(sparsity=0.75, inputs=4)),
        ({"bytes_ratio": 0.3}, PivotConfig(template="block_1x4", sparsity=0.75)),
    ],
    ids=["bytes", "time", "pivot"],
)
def test_zeros_in_blocks_are_rounded_learn_so_and_are_left_out_where_that_is_asked_or_faster(
    tmp_path: Path, trained: nn.Module, data: wieldy.Data, asked: dict[str, float], method: MethodConfig
) -> None:
    budget = wieldy.Budget(max_drop_points=50, **asked)  # type: ignore[arg-type]
    recovery = Recovery(fit=FitConfig(epochs=3, learning_rate=0.02), rounded_epochs=1)
    path = wieldy.shrink(trained, data, budget, out=tmp_path, recovery=recovery, method=method, quantize=True)
    package, record = read(path), RunRecord.from_json((tmp_path / "record.json").read_text())
    for layer in "37":
        scores = block_scores(package.tensors[f"{layer}.weight"].astype(np.float64), 1, 4)
        assert (scores == 0).mean() >= 0.74
    notes = [json.loads(line).get("note", "") for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    (told,) = [note for note in notes if note.startswith("blocks of zeros left out of 2 layers")]
    assert any(note.startswith("beyond its range on validation examples: 0.") for note in notes)
    bits = IntegerConfig.fitting(record.timing.tier).weight_bits
    assert told.endswith("for their bytes") == ("bytes_ratio" in asked)
    stored = f"int{bits}" if told.endswith("stored whole") else f"int{bits}_1x4"
    assert {package.manifest.formats[f"{layer}.weight"] for layer in "37"} == {stored}
    assert package.manifest.formats["0.weight"] == f"int{bits}"
    assert len(record.recovery) == 3  # two before rounding, one after
    assert record.timing.small_precision == "int8, rest f32"


def test_all_epochs_cannot_come_after_rounding() -> None:
    with pytest.raises(ConfigError, match="rounded_epochs must be fewer than"):
        Recovery(fit=FitConfig(epochs=2), rounded_epochs=2)


def test_where_eight_bits_are_enough_no_channel_goes_and_nothing_is_trained(
    tmp_path: Path, trained: nn.Module, data: wieldy.Data
) -> None:
    budget = wieldy.Budget(bytes_ratio=0.3, max_drop_points=3)
    path = wieldy.shrink(trained, data, budget, out=tmp_path, method=MagnitudeConfig(), quantize=True)
    package, record = read(path), RunRecord.from_json((tmp_path / "record.json").read_text())
    bits = f"int{IntegerConfig.fitting(record.timing.tier).weight_bits}"
    assert {package.manifest.formats[f"{layer}.weight"] for layer in "037"} == {bits}
    assert [(point.fraction, point.chosen) for point in record.candidates] == [(0.0, True)]
    assert not record.recovery
    assert record.verdict == "met"
    assert [(item.layer, item.method) for item in record.changes] == [(i, "integer") for i in "037"]
    assert record.timing.small_precision == "int8, rest f32"
    assert record.quantize["ranges"] in TRIED  # which of them was chosen
    assert "Eight bits" in (tmp_path / "report.html").read_text()


def test_where_eight_bits_are_not_enough_channels_go_too_and_the_search_counts_the_small_file(
    tmp_path: Path, trained: nn.Module, data: wieldy.Data
) -> None:
    budget = wieldy.Budget(bytes_ratio=0.15, max_drop_points=20)
    config = IntegerConfig(ranges="minmax", keep=("7",))
    path = wieldy.shrink(
        trained, data, budget, out=tmp_path, method=MagnitudeConfig(), quantize=config, recovery=QUICK
    )
    package, record = read(path), RunRecord.from_json((tmp_path / "record.json").read_text())
    assert package.manifest.formats["7.weight"] == "dense"
    assert {package.manifest.formats[f"{layer}.weight"] for layer in "03"} == {"int8"}
    assert record.package.bytes <= 0.15 * record.original.bytes
    methods = {(item.layer, item.method) for item in record.changes}
    assert {("3", "magnitude"), ("3", "integer"), ("7", "magnitude")} <= methods
    assert ("7", "it is to stay in float32") in {(item.layer, item.reason) for item in record.refused}


def test_zeros_in_eight_bits_are_refused_before_anything_is_done(
    tmp_path: Path, trained: nn.Module, data: wieldy.Data
) -> None:
    budget = wieldy.Budget(bytes_ratio=0.15)
    with pytest.raises(ConfigError, match="zeros may leave zeros that stand alone, which are multiplied in"):
        wieldy.shrink(trained, data, budget, out=tmp_path, method=ZerosConfig(), quantize=True)


def test_the_evidence_names_the_package_by_its_digest(finished: Path) -> None:
    evidence = json.loads((finished / "small.evidence.json").read_text())
    assert evidence["package"] == wieldy.check(finished / "small.wieldy").sha256
    assert all(item["digests"]["package"] == evidence["package"] for item in evidence["evidence"])


def test_a_replayed_run_ends_in_the_same_bytes(
    finished: Path, trained: nn.Module, data: wieldy.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("a replayed run must not measure")

    monkeypatch.setattr("wieldy.runtime.measure._ask", forbidden)
    budget = wieldy.Budget(latency_ratio=0.7, max_drop_points=5)
    out = tmp_path / "again"
    wieldy.shrink(trained, data, budget, out=out, recovery=QUICK, method=MagnitudeConfig(), replay=finished)
    for name in ("original.wieldy", "small.wieldy", "record.json"):
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


def test_a_budget_out_of_reach_names_the_nearest_point_and_writes_nothing_over(
    finished: Path, trained: nn.Module, data: wieldy.Data
) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(BudgetError, match="nearest point is"):
        wieldy.shrink(
            trained, data, wieldy.Budget(latency_ratio=0.001), out=finished, method=MagnitudeConfig()
        )
    for name, content in before.items():
        assert (finished / name).read_bytes() == content, name


def test_a_package_of_a_run_answers_without_torch_as_its_torch_form_does(finished: Path) -> None:
    x = np.random.default_rng(0).standard_normal((5, 1, 8, 8), np.float32)
    expected = wieldy.load(finished / "small.wieldy")(torch.from_numpy(x)).detach().numpy()
    found = wieldy.open(finished / "small.wieldy")(x)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) if x.sum() > 0 else x.flatten(1) * 2


def test_bad_input_is_refused_before_anything_is_written(data: wieldy.Data, tmp_path: Path) -> None:
    budget = wieldy.Budget(latency_ratio=0.5)
    broken = small_net()
    with torch.no_grad():
        broken[0].weight[0, 0, 0, 0] = torch.nan
    cases = [
        (Branches(), data, {}, TraceError),
        (broken, data, {}, TraceError),
        (small_net(), data, {"example": torch.zeros(1, 3, 8, 8)}, ShapeError),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), data, {}, DataError),
        (small_net(), data, {"threads": 0}, ConfigError),
        (small_net(), data, {"replay": tmp_path}, ConfigError),
    ]
    for index, (model, given, more, error) in enumerate(cases):
        out = tmp_path / str(index)
        with pytest.raises(error):
            wieldy.shrink(model, given, budget, out=out, **more)
        assert not out.exists() or not list(out.iterdir())


def cosine(out: np.ndarray, to: np.ndarray) -> np.ndarray:
    return (out * to).sum(axis=1)  # both are of length one


def apart(out: tuple[np.ndarray, ...], to: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.mean(
        [np.abs(a - b).reshape(len(a), -1).mean(axis=1) for a, b in zip(out, to, strict=True)], axis=0
    )


def sentences(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    mask = (np.arange(9) < rng.integers(3, 10, (count, 1))).astype(np.int64)
    return rng.integers(1, 50, (count, 9)) * mask, mask


CASES = {
    "a sentence encoder": (
        lambda: wild.Bert(width=64),
        lambda: sentences(300),
        wieldy.core.data.Metric(name="cosine", scores=cosine, labels=False),
    ),
    "a detector with two heads": (
        wild.Detector,
        lambda: (np.random.default_rng(0).standard_normal((200, 3, 26, 24), np.float32),),
        wieldy.core.data.Metric(name="distance", scores=apart, labels=False, higher_is_better=False),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_network_that_yields_no_classes_goes_through_a_whole_run(name: str, tmp_path: Path) -> None:
    make, inputs, metric = CASES[name]
    torch.manual_seed(0)
    model, x = make().eval(), inputs()
    with torch.no_grad():
        answers = model(*(torch.from_numpy(array) for array in x))
    targets = tuple(value.numpy() for value in answers) if isinstance(answers, tuple) else answers.numpy()
    data = wieldy.Data((x if len(x) > 1 else x[0], targets), metric=metric)
    budget = wieldy.Budget(macs_ratio=0.9, max_drop_points=60)
    recovery = Recovery(fit=FitConfig(epochs=2, learning_rate=0.001))
    path = wieldy.shrink(
        model, data, budget, out=tmp_path, method=MagnitudeConfig(), recovery=recovery, batch=8
    )
    record = RunRecord.from_json((tmp_path / "record.json").read_text())
    assert record.package.macs <= 0.9 * record.original.macs
    measured = [item.kind for item in record.evidence if item.measured]
    assert measured == ["metric", "outputs", "runtime"]
    assert metric.name in record.reasons[1]
    said = [line for line in record_lines(record) if "every output within" in line]
    assert said[0].count("cosine") == (2 if "two" in name else 1)
    found = wieldy.open(path)(*(array[:5] for array in x))
    assert len(found if isinstance(found, tuple) else (found,)) == (2 if "two" in name else 1)
    page = (tmp_path / "report.html").read_text()
    assert "Farthest examples" in page
    assert "The outputs are no class logits." in page


def wide_net() -> nn.Module:
    """Four megabytes of weights in one layer, which two thin ones beat on any CPU."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10),
    )  # fmt: skip


def test_a_run_in_low_rank_factors_the_layer_that_gains_and_accounts_for_the_others(
    data: wieldy.Data, tmp_path: Path
) -> None:
    slowly = FitConfig(epochs=2, learning_rate=0.005)
    model = fit(wide_net(), data, config=slowly)
    budget = wieldy.Budget(latency_ratio=0.8, max_drop_points=3)
    package = wieldy.shrink(
        model, data, budget, out=tmp_path, recovery=Recovery(fit=slowly),
        method=SvdConfig(share=0.1),
    )  # fmt: skip
    record = RunRecord.from_json((tmp_path / "record.json").read_text())
    assert "3" in {change.layer for change in record.changes}
    assert {item.layer for item in (*record.changes, *record.refused)} == {"0", "3", "5"}
    assert record.method["name"] == "svd"
    assert record.timing.ratio.value < 0.8
    assert record.verdict == "met"
    layers = {node.layer for node in read(package).program.nodes}
    assert {"3.first", "3.second"} <= layers


def test_where_no_layer_gains_by_low_rank_the_run_ends_with_the_times(
    data: wieldy.Data, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    with pytest.raises(BudgetError, match=r"no layer gains by being two .* numbers, and it has"):
        wieldy.shrink(model, data, wieldy.Budget(latency_ratio=0.5), out=tmp_path, method=SvdConfig(rank=30))


def test_eight_bits_alone_are_no_method_of_a_run(data: wieldy.Data, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Write quantize: true"):
        wieldy.shrink(
            small_net(), data, wieldy.Budget(latency_ratio=0.5), out=tmp_path, method=IntegerConfig()
        )
