"""Several methods in order: each works on what the one before left, and undoes none of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import nn

import wieldy
from wieldy.compress.apply import apply_plan
from wieldy.core.errors import ConfigError
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Silent
from wieldy.core.records import Change, Plan, RunRecord
from wieldy.flow import stages as module
from wieldy.flow import training
from wieldy.flow.recipe import read_recipe
from wieldy.flow.run import run_recipe
from wieldy.flow.state import Recovery, Run, Stage
from wieldy.graph.cost import total_macs
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.prune.zeros import ZerosConfig
from wieldy.methods.share.unify import UnifyConfig
from wieldy.package.read import read
from wieldy.package.save import pack
from wieldy.runtime.tier import current_tier
from wieldy.train.fit import FitConfig

pytestmark = [
    pytest.mark.usefixtures("one_process"),
    pytest.mark.filterwarnings("ignore:small.wieldy. its speed was measured on avx2"),
]
SHORT = Recovery(fit=FitConfig(epochs=2, learning_rate=0.02), feature_weight=1.0)
WHOLE = wieldy.Budget(bytes_ratio=0.9, max_drop_points=90)
ZEROS = Stage(ZerosConfig(sparsity=0.8), WHOLE, SHORT)
GOOD = "model: net.py:make\ndata: optical-digits\nbudget: {bytes_ratio: 0.9, max_drop_points: 90}\n"


def channels(macs: float) -> Stage:
    return Stage(MagnitudeConfig(), wieldy.Budget(macs_ratio=macs), SHORT)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    wide: nn.Module = wieldy.fit(
        nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 16, 10),
        ), tiny.digits(), config=FitConfig(epochs=2)
    )  # fmt: skip
    return wide


def run(model: nn.Module, out: Path, *stages: Stage, **more: Any) -> RunRecord:
    wieldy.shrink(model, tiny.digits(), WHOLE, out=out, stages=stages, batch=8, tier="avx2", **more)
    return RunRecord.from_json((out / "record.json").read_text())


@pytest.mark.parametrize("stages", [(channels(0.6), ZEROS), (ZEROS, channels(0.6))])
def test_channels_and_zeros_are_both_gone_in_either_order(
    stages: tuple[Stage, ...], model: nn.Module, tmp_path: Path
) -> None:
    record = run(model, tmp_path, *stages)
    assert record.package.macs <= 0.6 * record.original.macs
    package = read(tmp_path / "small.wieldy")
    weight = package.arrays()["2.weight"]
    assert (weight == 0).mean() > 0.7  # 0.8 but for the channels that went with their zeros
    assert package.zeros_left_out() == record.package.zeros > 0
    assert {item.method for item in record.changes} == {"magnitude", "zeros"}
    assert record.method["name"] == "steps"
    assert [record.method[f"step {place}"]["name"] for place in (1, 2)] == [
        "zeros" if stage is ZEROS else "magnitude" for stage in stages
    ]
    assert len(record.recovery) == 4


def test_goals_of_later_steps_are_shares_of_the_original(model: nn.Module, tmp_path: Path) -> None:
    first = wieldy.trace(model, torch.zeros(1, 1, 8, 8))
    group = couple(first.program).groups[0].name
    now = apply_plan(first, Plan(method={}, remove={group: tuple(range(8))}))
    macs, sizes = ([of(net) for net in (first, now)] for of in (macs_of, bytes_of))
    asked = wieldy.Budget(macs_ratio=0.5, bytes_ratio=0.99, latency_ms=5, max_drop_points=3)
    left = module.left_of(plain(tmp_path), asked, first, now)
    assert left.macs_ratio == pytest.approx(0.5 * macs[0] / macs[1])
    assert left.bytes_ratio == min(1.0, 0.99 * sizes[0] / sizes[1]) == 1.0  # it is met: nothing more goes
    assert (left.latency_ms, left.max_drop_points) == (5, 3)
    assert module.left_of(plain(tmp_path), asked, first, first) == asked


def macs_of(network: GraphNetwork) -> int:
    return total_macs(network.program)


def bytes_of(network: GraphNetwork) -> int:
    return len(pack(network))


def plain(folder: Path) -> Run:
    return Run(
        folder=folder, data=tiny.digits(), budget=WHOLE, method=MagnitudeConfig(), recovery=SHORT, seed=0,
        threads=1, tier=current_tier(), batch=1, title="", recipe={}, reproduce=(), ledger=Ledger(None),
        progress=Silent(),
    )  # fmt: skip


def test_the_original_teaches_every_step(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = []
    session = training.as_session
    monkeypatch.setattr(training, "as_session", lambda of, threads: taught.append(of) or session(of, threads))
    run(model, tmp_path, ZEROS, ZEROS)
    weights = [of.state_dict()["2.weight"] for of in taught]
    assert len(weights) == 2
    assert all(torch.equal(weight, model.state_dict()["2.weight"]) for weight in weights)


def test_what_later_training_would_undo_must_come_last(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"step 1 is unify.*Make it the last"):
        run(model, tmp_path, Stage(UnifyConfig(), WHOLE, SHORT), ZEROS)


def test_zeros_in_a_step_are_not_rounded(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="quantize: zeros may leave zeros"):
        run(model, tmp_path, channels(0.6), ZEROS, quantize=True)


def test_steps_and_the_planner_exclude_each_other(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the planner says what is done"):
        run(model, tmp_path, ZEROS, planning=True)


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_step_takes_from_the_recipe_what_it_does_not_say(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD + (
        "seed: 3\nrecovery: {augment: true, fit: {epochs: 4}}\nsteps:\n"
        "- method: {name: magnitude}\n  budget: {latency: 60%}\n  recovery: {fit: {learning_rate: 0.5}}\n"
        "- method: {name: zeros, sparsity: 0.7}\n")))  # fmt: skip
    first, second = recipe.stages()
    assert first.budget == wieldy.Budget(latency_ratio=0.6, max_drop_points=90)
    assert second.budget == recipe.budget_value()
    assert (first.recovery.fit.epochs, first.recovery.fit.learning_rate) == (4, 0.5)
    assert second.recovery.fit.learning_rate != 0.5
    assert second.recovery.augment
    assert (first.recovery.fit.seed, second.recovery.fit.seed) == (3, 3)
    assert second.method == ZerosConfig(sparsity=0.7, seed=3)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("- methd: {name: zeros}\n", 5, "Did you mean 'method'"),
        ("- method: {name: zeros}\n- method: {name: zero}\n", 6, "step 2: method: must be one of"),
        ("- method: {name: zeros, sparsity: 2}\n", 5, "less than or equal to 1"),
        ("- method: {name: zeros}\n  budget: {latency: 60}\n", 6, "a share such as 50%"),
        ("- method: {name: zeros}\n  recovery:\n    fit: {epoch: 2}\n", 7, "Did you mean 'epochs'"),
        ("- budget: {latency: 60%}\n", 5, "method"),
        ("- zeros\n", 5, "steps"),
    ],
)
def test_a_wrong_step_is_said_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"recipe.yaml, line {line}: ") + ".*" + re.escape(says)):
        read_recipe(write(tmp_path, GOOD + "steps:\n" + text))


@pytest.mark.parametrize(
    ("more", "says"),
    [("method: {name: zeros}\n", "each has its own method"), ("plan: true\n", "what steps would")],
)
def test_steps_stand_instead_of_a_method_and_of_a_plan(tmp_path: Path, more: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_recipe(write(tmp_path, GOOD + "steps:\n- method: {name: zeros}\n" + more))


def test_a_recipe_of_steps_runs(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(tiny.NET_FILE)
    text = (
        GOOD + "steps:\n- {method: {name: zeros, sparsity: 0.5}}\n- {method: {name: zeros, sparsity: 0.8}}\n"
    )
    record = run_recipe(write(tmp_path, text + "recovery: {fit: {epochs: 2}}\n"), tmp_path / "out")
    last = [item for item in record.changes if isinstance(item, Change)][-1]
    assert last.after["nonzero"] <= 0.21 * last.after["weights"]
