"""A run as a small, strict YAML file."""

import difflib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field
from torch import nn

from wieldy.core.config import Frozen
from wieldy.core.data import Data
from wieldy.core.errors import ConfigError
from wieldy.core.optional import need
from wieldy.flow.state import Recovery
from wieldy.methods.contract import MethodConfig
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.methods.registry import by_name
from wieldy.plan.budget import Budget, parse_latency

Config = TypeVar("Config", bound=Frozen)
BUILT_IN = ("fashion-mnist-subset", "fashion-mnist", "mnist", "optical-digits")


class Recipe(Frozen):
    """What a recipe may say.

    Attributes:
        model: `file.py:function`; the function takes nothing and returns a trained module.
        data: `file.py:function` that returns `wieldy.Data`, or the name of a built-in set.
        budget: as `wieldy.Budget`, with `latency: 50%` or `latency: 0.5ms`.
        method: `name` and the method's own settings; default: taylor where the metric has a loss, else
            magnitude.
        recovery: training after removal.
        quantize: true for eight bits as the tier wants them, or settings of `integer` that differ from that.
        seed: of everything that is random.
        threads, tier, batch: what milliseconds are measured with.
    """

    model: str
    data: str
    budget: dict[str, Any]
    method: dict[str, Any] = Field(default_factory=dict)
    recovery: dict[str, Any] = Field(default_factory=dict)
    quantize: bool | dict[str, Any] = False
    seed: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)
    tier: str | None = None
    batch: int | None = Field(default=None, ge=1)

    def budget_value(self) -> Budget:
        """Return the budget."""
        given = dict(self.budget)
        if "latency" in given:
            given |= parse_latency(str(given.pop("latency")))
        return built(Budget, given, "budget", ("latency",))

    def method_value(self) -> MethodConfig | None:
        """Return the method's config, with the recipe's seed unless it names its own; None: the default."""
        if not self.method:
            return None
        given = {"seed": self.seed} | self.method
        kind = by_name(str(given.pop("name", "")))
        return built(kind, given, "method")

    def recovery_value(self) -> Recovery:
        """Return the settings of the training after removal."""
        base = Recovery()
        given = dict(self.recovery)
        settings = {"seed": self.seed} | given.pop("fit", {})
        fit_config = built(type(base.fit), base.fit.model_dump() | settings, "recovery.fit")
        return built(Recovery, given | {"fit": fit_config}, "recovery")

    def quantize_value(self, tier: str) -> IntegerConfig | None:
        """Return how the small network is rounded to eight bits, or None."""
        if self.quantize is False:
            return None
        base = IntegerConfig.fitting(tier).model_dump() | {"seed": self.seed}
        given = self.quantize if isinstance(self.quantize, dict) else {}
        return built(IntegerConfig, base | given, "quantize")


def built(kind: type[Config], given: dict[str, Any], where: str, more: tuple[str, ...] = ()) -> Config:
    """Make a config from a mapping; an unknown key is refused with the nearest right one."""
    known = [*kind.model_fields, *more]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(known)}."
            raise ConfigError(f"recipe: {where} has no key {key!r}. {hint}")
    return kind(**given)


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ConfigError: no such file, no YAML mapping, an unknown key or a value out of range.
    """
    yaml = need("yaml", "compress", "reading recipes")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no YAML ({' '.join(str(error).split())[:200]}).") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a mapping of keys to values; got {type(raw).__name__}.")
    recipe = built(Recipe, raw, str(path))
    recipe.budget_value(), recipe.method_value(), recipe.recovery_value(), recipe.quantize_value("")
    return recipe


def load_model(spec: str, folder: Path) -> nn.Module:
    """Call `file.py:function`, relative to the recipe's folder, and return its module."""
    model = call(spec, folder)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model: {spec} must return a torch module; got {type(model).__name__}.")
    return model


def load_data(spec: str, folder: Path) -> Data:
    """Return a built-in set by name, or what `file.py:function` returns."""
    if ":" not in spec:
        return built_in(spec)
    data = call(spec, folder)
    if not isinstance(data, Data):
        raise ConfigError(f"data: {spec} must return wieldy.Data; got {type(data).__name__}.")
    return data


def built_in(name: str) -> Data:
    """Return a data set that comes with the package, or whose files are on this machine."""
    from wieldy.zoo.data import digits, fashion, mnist

    sets: dict[str, Callable[[], Data]] = {
        "fashion-mnist-subset": fashion.embedded,
        "fashion-mnist": fashion.full,
        "mnist": mnist.full,
        "optical-digits": digits.optical_digits,
    }
    if name not in sets:
        raise ConfigError(f"data: must be file.py:function or one of {', '.join(BUILT_IN)}; got {name!r}.")
    return sets[name]()


def call(spec: str, folder: Path) -> Any:
    """Import a file by path and call one function of it without arguments."""
    file, _, name = spec.rpartition(":")
    path = folder / file
    if not file or not path.is_file():
        raise ConfigError(f"{spec}: must be file.py:function with an existing file; {path} is none.")
    found = importlib.util.spec_from_file_location(f"wieldy_recipe_{path.stem}", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    try:
        found.loader.exec_module(module)
        function = getattr(module, name, None)
        if function is None:
            raise ConfigError(f"{spec}: {path} defines no {name!r}.")
        return function()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{spec}: raised {type(error).__name__}: {error}") from error
