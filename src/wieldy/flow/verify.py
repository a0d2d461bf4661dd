"""Evidence measured again: on two packages and data, or on what a finished run left."""

from dataclasses import dataclass
from pathlib import Path

from wieldy.assure.checks import Checks
from wieldy.core.data import Data
from wieldy.core.errors import ConfigError
from wieldy.core.ledger import NAME, Ledger
from wieldy.flow.recipe import Recipe
from wieldy.flow.run import BEGUN, Origin
from wieldy.flow.sources import load_data
from wieldy.flow.state import ORIGINAL, PACKAGE


@dataclass(frozen=True)
class Subject:
    """What is examined, and what is asked of it."""

    package: Path
    original: Path
    data: Data
    max_drop_points: float
    checks: Checks


def of_run(folder: Path) -> Subject:
    """Return what a finished run made, from which data, and what its recipe asks.

    Raises:
        ConfigError: the folder holds no finished run, or its recipe's data cannot be loaded any more.
    """
    found = [value for _, value in Ledger(folder).of_kind(BEGUN)] if (folder / NAME).is_file() else []
    missing = [name for name in (PACKAGE, ORIGINAL) if not (folder / name).is_file()]
    if not found or missing:
        what = f"lacks {' and '.join(missing)}" if missing else "has no ledger that says how it began"
        raise ConfigError(
            f"{folder}: is no folder of a finished run: it {what}. Name one, or a package with --against and "
            "--data."
        )
    origin = Origin(**found[0])
    recipe = Recipe(**origin.recipe)
    data = load_data(recipe.data, Path(origin.folder or "."))
    drop = recipe.budget_value().max_drop_points
    return Subject(folder / PACKAGE, folder / ORIGINAL, data, drop, recipe.checks_value())
