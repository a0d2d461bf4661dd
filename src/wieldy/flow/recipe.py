"""A run as a small, strict YAML file."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, field_validator

from wieldy.assure.checks import Checks
from wieldy.core.config import Frozen
from wieldy.core.errors import ConfigError
from wieldy.flow.mapping import located, read_mapping
from wieldy.flow.state import Planning, Recovery, Stage
from wieldy.methods.contract import MethodConfig
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.methods.registry import by_name
from wieldy.plan.budget import SHORT, Budget, parse_goal

Config = TypeVar("Config", bound=Frozen)
VERSION = 1


class RecipeStep(Frozen):
    """One method of several, and where they differ from the recipe's, its goals and the training after it."""

    method: dict[str, Any]
    budget: dict[str, Any] = Field(default_factory=dict)
    recovery: dict[str, Any] = Field(default_factory=dict)


class Recipe(Frozen):
    """What a recipe may say.

    Attributes:
        model: `file.py:name` of a trained module, or of what yields one without arguments.
        weights: a file with the model's state: safetensors, or what `torch.save` wrote of a `state_dict`.
        data: `file.py:name` of `wieldy.Data`, of what `wieldy.Data` takes by name, or of a function that
            returns either; or the name of a built-in set.
        budget: as `wieldy.Budget`, with `latency: 50%` or `latency: 0.5ms`; `macs`, `bytes` take shares.
        method: `name` and the method's own settings; default: taylor where the metric has a loss, else
            magnitude.
        steps: instead of a method, several in order: each a mapping with a `method`, and where they differ
            from the recipe's own, a `budget` and a `recovery`. Goals are shares of the original throughout.
        plan: instead of a method, the mix of methods that the planner finds: true, or settings of it, such as
            `kinds` and the layers to `keep`.
        recovery: training after removal.
        evidence: how closely the saved files are looked at, as `wieldy.Checks`: how many test examples are
            corrupted and attacked, and the floors that must hold, such as `floors: {flips: 1%}`.
        quantize: true for eight bits as the tier wants them, or settings of `integer` that differ from that.
        seed: of everything that is random.
        threads, tier, batch: what milliseconds are measured with.
        tensorboard: whether scalars of the training are written for TensorBoard, in the run's folder.
        version: of this form of recipes.
    """

    model: str
    data: str
    weights: str | None = None
    budget: dict[str, Any]
    method: dict[str, Any] = Field(default_factory=dict)
    steps: tuple[RecipeStep, ...] = ()
    plan: bool | dict[str, Any] = False
    recovery: dict[str, Any] = Field(default_factory=dict)
    evidence: dict[str, Any] = Field(default_factory=dict)
    quantize: bool | dict[str, Any] = False
    seed: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)
    tier: str | None = None
    batch: int | None = Field(default=None, ge=1)
    tensorboard: bool = False
    version: int = Field(default=VERSION, ge=1)

    @field_validator("version")
    @classmethod
    def _is_known(cls, version: int) -> int:
        if version > VERSION:
            raise ValueError(f"this wieldy reads recipes up to version {VERSION}; install a newer one")
        return version

    def budget_value(self) -> Budget:
        """Return the budget."""
        given = dict(self.budget)
        for name in given.keys() & set(SHORT):
            try:
                goal = parse_goal(name, given.pop(name))
            except ConfigError as error:
                raise ConfigError(str(error), ("budget", name)) from None
            if goal.keys() & given.keys():
                raise ConfigError(f"budget: give {name} or {next(iter(goal))}, not both", ("budget", name))
            given |= goal
        return built(Budget, given, "budget", more=SHORT)

    def method_value(self) -> MethodConfig | None:
        """Return the method's config, with the recipe's seed unless it names its own; None: the default."""
        if not self.method:
            return None
        given = {"seed": self.seed} | self.method
        try:
            kind = by_name(str(given.pop("name", "")))
        except ConfigError as error:
            raise ConfigError(str(error), ("method", "name")) from None
        return built(kind, given, "method")

    def checks_value(self) -> Checks:
        """Return how closely the saved files are looked at."""
        return built(Checks, self.evidence, "evidence")

    def planning_value(self) -> Planning | None:
        """Return the planner's settings, or None where one method does it all."""
        if self.plan is False:
            return None
        other = next((name for name in ("quantize", "method", "steps") if getattr(self, name)), "")
        if other:
            raise ConfigError(f"plan: the planner says what {other} would. Leave out one of them.", ("plan",))
        return built(Planning, self.plan if isinstance(self.plan, dict) else {}, "plan")

    def stages(self) -> tuple[Stage, ...]:
        """Return the steps, each with what it does not say itself from the recipe."""
        if self.steps and self.method:
            raise ConfigError("steps: each has its own method. Leave out `method`.", ("steps",))
        return tuple(self._stage(place, step) for place, step in enumerate(self.steps))

    def _stage(self, place: int, step: "RecipeStep") -> Stage:
        fit = self.recovery.get("fit", {}) | step.recovery.get("fit", {})
        own = {"method": step.method, "steps": (), "recovery": self.recovery | step.recovery | {"fit": fit}}
        drop = {"max_drop_points": self.budget.get("max_drop_points", 1.0)}
        own |= {"budget": drop | step.budget if step.budget else self.budget}
        one = self.model_copy(update=own)
        try:
            method = one.method_value()
            if method is None:
                raise ConfigError("a step needs a method", ("method",))
            return Stage(method, one.budget_value(), one.recovery_value())
        except ConfigError as error:
            raise ConfigError(f"step {place + 1}: {error}", ("steps", str(place), *error.key)) from None

    def recovery_value(self) -> Recovery:
        """Return the settings of the training after removal."""
        base = Recovery()
        given = dict(self.recovery)
        settings = given.pop("fit", {})
        if not isinstance(settings, dict):
            raise ConfigError(
                f"recovery.fit must be a mapping of settings; got {settings!r}.", ("recovery", "fit")
            )
        settings = base.fit.model_dump() | {"seed": self.seed} | settings
        fit_config = built(type(base.fit), settings, "recovery", "fit")
        return built(Recovery, given | {"fit": fit_config}, "recovery")

    def quantize_value(self, tier: str) -> IntegerConfig | None:
        """Return how the small network is rounded to eight bits, or None."""
        if self.quantize is False:
            return None
        base = IntegerConfig.fitting(tier).model_dump() | {"seed": self.seed}
        given = self.quantize if isinstance(self.quantize, dict) else {}
        return built(IntegerConfig, base | given, "quantize")


def asking(recipe: Recipe, goals: Mapping[str, Any], max_drop_points: float | None) -> Recipe:
    """Return a recipe with other goals for time and size, if any are given, and another for the metric."""
    drop = "max_drop_points"
    kept = {key: value for key, value in recipe.budget.items() if key == drop or not goals}
    given = dict(goals) | ({} if max_drop_points is None else {drop: max_drop_points})
    changed = recipe.model_copy(update={"budget": kept | given})
    changed.budget_value()
    return changed


def built(kind: type[Config], given: dict[str, Any], *where: str, more: tuple[str, ...] = ()) -> Config:
    """Make a config from a mapping; an unknown key is refused with the nearest right one.

    Args:
        kind, given: what is made of what.
        where: the mapping's keys in the recipe, outermost first.
        more: keys that have been dealt with elsewhere.
    """
    known = [*kind.model_fields, *more]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(known)}."
            place = ".".join(where) or "a recipe"
            raise ConfigError(f"{place} has no key {key!r}. {hint}", (*where, str(key)))
    try:
        return kind(**given)
    except ConfigError as error:
        raise ConfigError(str(error), (*where, *error.key)) from None


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ConfigError: no such file, no YAML mapping, an unknown key or a value out of range.
    """
    raw, lines = read_mapping(path)
    steps = raw.get("steps")
    try:
        for place, step in enumerate(steps if isinstance(steps, list) else ()):
            if isinstance(step, dict):
                built(RecipeStep, step, "steps", str(place))
        recipe = built(Recipe, raw)
        recipe.budget_value(), recipe.method_value(), recipe.recovery_value(), recipe.quantize_value("")
        recipe.planning_value(), recipe.stages(), recipe.checks_value()
    except ConfigError as error:
        raise located(error, path, lines) from None
    return recipe
