"""A recipe says what it means or is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wieldy.core.data import Data, Metric
from wieldy.core.errors import ConfigError
from wieldy.flow.recipe import Recipe, read_recipe
from wieldy.flow.shrink import default_method
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.methods.registry import settings_of

GOOD = "model: net.py:make\ndata: optical-digits\nbudget: {latency: 50%}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("loss", "name"), [(None, "magnitude"), (lambda out, to: (out - to).sum(), "taylor")]
)
def test_without_a_method_importance_is_by_loss_where_there_is_one(loss: Any, name: str) -> None:
    rows = np.zeros((20, 2), np.float32), np.zeros((20, 3), np.float32)
    metric = Metric(name="distance", scores=lambda out, to: np.abs(out - to).mean(1), labels=False, loss=loss)
    assert settings_of(default_method(Data(rows, metric=metric), 0))["name"] == name


def test_a_minimal_recipe_is_read_with_its_defaults(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD))
    assert recipe.budget_value().latency_ratio == 0.5
    assert recipe.method_value() is None
    assert recipe.recovery_value().augment is False


def test_the_seed_reaches_method_and_training(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD + "seed: 7\nmethod: {name: magnitude, norm: l2}\n"))
    assert recipe.method_value() == MagnitudeConfig(seed=7, norm="l2")
    assert recipe.recovery_value().fit.seed == 7


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "sede: 1\n", "Did you mean 'seed'"),
        (GOOD + "method: {name: magnitude, nrom: l2}\n", "Did you mean 'norm'"),
        (GOOD + "recovery: {fit: {epoch: 3}}\n", "Did you mean 'epochs'"),
        (GOOD + "method: {name: magnitud}\n", "must be one of magnitude"),
        (GOOD.replace("50%", "50"), "a share such as 50%"),
        (GOOD.replace("{latency: 50%}", "{max_drop_points: 1}"), "at least one goal"),
        (GOOD.replace("{latency: 50%}", "{latency: 50%, max_drop_points: -1}"), "max_drop_points"),
        (GOOD + "threads: 0\n", "threads"),
        ("- a\n- b\n", "must be a mapping"),
        ("", "must be a mapping"),
        ("model: [\n", "is no YAML"),
        ("data: optical-digits\nbudget: {latency: 50%}\n", "model: field required"),
        (GOOD + "x: !!python/object/apply:os.system [echo]\n", "is no YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_by_key_and_value(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("(", r"\(")):
        read_recipe(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (GOOD + "budget: {bytes: 9}\n", 4, "'budget' stands twice, first in line 3. Keep one"),
        (GOOD + "method:\n  name: taylor\n  name: random\n", 6, "'name' stands twice, first in line 5"),
        (GOOD + "a: &a [1, 2]\nb: [*a, *a]\n", 5, "*a repeats a part of the file"),
        (GOOD + "version: 2\n", 4, "install a newer one"),
        (GOOD + "recovery:\n  augment: true\n  fit:\n    epochs: 0\n", 7, "greater than or equal to 1"),
        (GOOD + "recovery:\n  fit: 5\n", 5, "recovery.fit must be a mapping of settings; got 5"),
        (GOOD + "seed: 0\nmethod: {name: zeros, sparsity: 2}\n", 5, "less than or equal to 1"),
        (GOOD + "seed: 0\nmethod: {nam: zeros}\n", 5, "must be one of"),
        (GOOD + "quantize: {keep: fc}\n", 4, "keep"),
        (GOOD.replace("{latency: 50%}", "\n  bytes: 9\n  latency: soon"), 5, "a time such as 0.5ms"),
        (GOOD.replace("{latency: 50%}", "{bytes: 9, bytes_ratio: 0.5}"), 3, "not both"),
        (GOOD.replace("{latency: 50%}", "{bytes: 50%, bytes_ratio: 0.5}"), 3, "not both"),
        (GOOD.replace("{latency: 50%}", "{bytes: 1.5MB}"), 3, "bytes: must be a share such as 20%"),
        (GOOD + "seed:\n\t1\n", 5, "cannot start any token"),
        (GOOD + "model: other.py:make\n", 4, "stands twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"recipe.yaml, line {line}: ") + ".*" + re.escape(says)):
        read_recipe(write(tmp_path, text))


@pytest.mark.parametrize(
    "text", ["[" * 5000, "x: " + "[" * 5000 + "]" * 5000, "#" * (2 << 20), "\0", "a: \ud800"]
)
def test_what_would_choke_a_reader_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=r"is no YAML|at most"):
        read_recipe(path)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(("tier", "bits"), [("avx2", 7), ("avx2_vnni", 8)])
def test_eight_bits_follow_the_tier_unless_a_recipe_says_otherwise(tier: str, bits: int) -> None:
    given: dict[str, Any] = {"model": "net.py:make", "data": "mnist", "budget": {"latency": "50%"}, "seed": 4}
    assert Recipe(**given).quantize_value(tier) is None
    plain = Recipe(**given, quantize=True).quantize_value(tier)
    assert plain == IntegerConfig(weight_bits=bits, seed=4)
    settings = {"weight_bits": 8, "keep": ["fc"]}
    assert Recipe(**given, quantize=settings).quantize_value(tier) == IntegerConfig(keep=("fc",), seed=4)
    with pytest.raises(ConfigError, match=r"quantize has no key 'rangs'\. Did you mean 'ranges'"):
        Recipe(**given, quantize={"rangs": "minmax"}).quantize_value(tier)
