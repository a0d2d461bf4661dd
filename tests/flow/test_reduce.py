"""Every method by name in a whole run: what it leaves is saved, opened, measured and accounted for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import wieldy
from wieldy.compress.load import load
from wieldy.core.errors import ConfigError
from wieldy.core.records import Change, RunRecord
from wieldy.flow import reduce
from wieldy.flow.state import Recovery
from wieldy.methods.prune.guided import table_of
from wieldy.methods.registry import METHODS, by_name
from wieldy.package.read import read
from wieldy.train.fit import FitConfig, fit
from wieldy.zoo.data.digits import optical_digits

SHORT = Recovery(fit=FitConfig(epochs=2, learning_rate=0.02), feature_weight=1.0)
LAYERS = {"0", "3", "5", "9"}
METHODS_IN_RUNS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"name": "lobs", "sparsity": 0.8}, "zeros"),
    ({"name": "lobs", "sparsity": 0.8, "block": 8}, "zeros"),
    ({"name": "ssl", "penalty": 3.0}, "channels"),
    ({"name": "ssl", "structure": "columns", "penalty": 3.0}, "zeros"),
    ({"name": "spp", "ratio": 0.7}, "zeros"),
    ({"name": "spp", "structure": "filters", "ratio": 0.5}, "channels"),
    ({"name": "directional", "sparsity": 0.5}, "channels"),
    ({"name": "pivot", "sparsity": 0.8}, "zeros"),
    ({"name": "pivot", "template": "diagonal", "blocks": 2}, "either"),
    ({"name": "guided", "penalty": 3.0, "density": 0.3}, "zeros"),
    ({"name": "unify"}, "unified"),
)


@pytest.fixture(scope="module", autouse=True)
def known_costs(one_process: None) -> Iterator[None]:
    """A cost table that is at hand, and figures of one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduce, "agreed_costs", lambda *, threads, tier: table_of(tier, threads))
        yield


@pytest.fixture(scope="module")
def data() -> wieldy.Data:
    return optical_digits()


@pytest.fixture(scope="module")
def trained(data: wieldy.Data) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 16, 10),
        )  # fmt: skip
    return fit(model, data, config=FitConfig(epochs=2, learning_rate=0.05))


def test_every_method_that_trains_is_run_here() -> None:
    hooks = {method.name for method in METHODS.values() if method.shape == "hook"}
    assert hooks | {"lobs"} == {settings["name"] for settings, _ in METHODS_IN_RUNS}


@pytest.mark.filterwarnings("ignore:small.wieldy. its speed was measured on avx2")
@pytest.mark.parametrize(("settings", "leaves"), METHODS_IN_RUNS, ids=lambda value: str(value))
def test_a_method_by_name_ends_in_a_package_that_is_smaller_and_opens(
    settings: dict[str, Any], leaves: str, trained: nn.Module, data: wieldy.Data, tmp_path: Path
) -> None:
    given = dict(settings)
    method = by_name(given.pop("name"))(**given)
    budget = wieldy.Budget(bytes_ratio=0.9, max_drop_points=90)
    path = wieldy.shrink(
        trained, data, budget, out=tmp_path, method=method, recovery=SHORT, tier="avx2", batch=8
    )
    package, record = read(path), RunRecord.from_json((tmp_path / "record.json").read_text())
    assert {item.layer for item in (*record.changes, *record.refused)} == LAYERS
    assert record.method["name"] == settings["name"]
    assert record.package.bytes < record.original.bytes
    kinds = {kind.split("_")[0] for kind in package.manifest.formats.values()}
    if leaves == "channels":
        assert record.package.macs < record.original.macs
    elif leaves == "unified":
        assert "unified" in kinds
    elif leaves == "either":
        (note,) = {item.note for item in record.changes if item.after.get("blocks")}
        assert "groups take 0." in note or "groups take 1." in note
    else:
        assert kinds & {"csr", "block"}
        assert record.package.zeros > 0
    x = data.test.inputs[:20]
    with torch.no_grad():
        wanted = load(path)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(wieldy.open(path)(x), wanted, atol=1e-4 * np.abs(wanted).max())
    assert len(record.recovery) == SHORT.fit.epochs


def test_a_method_that_settles_wants_two_epochs(
    trained: nn.Module, data: wieldy.Data, tmp_path: Path
) -> None:
    once = Recovery(fit=FitConfig(epochs=1))
    budget = wieldy.Budget(bytes_ratio=0.9)
    with pytest.raises(ConfigError, match=r"ssl finds its structure.*fit\.epochs is 1"):
        wieldy.shrink(trained, data, budget, out=tmp_path, method=by_name("ssl")(), recovery=once)


def test_zeros_are_not_rounded_to_eight_bits(trained: nn.Module, data: wieldy.Data, tmp_path: Path) -> None:
    budget = wieldy.Budget(bytes_ratio=0.9)
    for name in ("lobs", "spp", "unify"):
        with pytest.raises(ConfigError, match=f"quantize: {name} may leave zeros"):
            wieldy.shrink(trained, data, budget, out=tmp_path, method=by_name(name)(), quantize=True)


@pytest.mark.filterwarnings("ignore:small.wieldy. its speed was measured on avx2")
def test_a_run_is_guided_by_the_model_of_its_own_tier(
    trained: nn.Module, data: wieldy.Data, tmp_path: Path
) -> None:
    budget = wieldy.Budget(bytes_ratio=0.99, max_drop_points=90)
    method = by_name("guided")(penalty=3.0, density=0.9)
    wieldy.shrink(trained, data, budget, out=tmp_path, method=method, recovery=SHORT, tier="avx2", batch=8)
    record = RunRecord.from_json((tmp_path / "record.json").read_text())
    reasons = [item.reason for item in record.refused if "ms dense" in item.reason]
    assert reasons
    assert all("on avx2 " in reason for reason in reasons)


@pytest.mark.parametrize("budget", [{"bytes_ratio": 0.9}, {"macs_ratio": 1.0}])
def test_linear_layers_are_pruned_for_bytes_where_the_budget_has_bytes(
    trained: nn.Module, data: wieldy.Data, tmp_path: Path, budget: dict[str, float]
) -> None:
    method = by_name("guided")(penalty=3.0, density=0.9)
    goals = wieldy.Budget(**budget, max_drop_points=90)
    wieldy.shrink(trained, data, goals, out=tmp_path, method=method, recovery=SHORT, batch=8)
    record = RunRecord.from_json((tmp_path / "record.json").read_text())
    linear = {"9"}
    changed = {item.layer for item in record.changes if isinstance(item, Change) and item.note}
    assert changed & linear == (linear if "bytes_ratio" in budget else set())
