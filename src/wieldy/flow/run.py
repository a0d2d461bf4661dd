"""A run from a recipe, and the demo: the same steps on the embedded network."""

from pathlib import Path

from torch import nn

from wieldy.core.data import Data
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import RunRecord
from wieldy.flow.recipe import Recipe, load_data, load_model, read_recipe
from wieldy.flow.shrink import default_method, execute
from wieldy.flow.state import RECORD, Run, opened_ledger, prepared
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import check_tier, current_tier

DEMO = Recipe(
    model="wieldy.zoo.networks.residual:residual28",
    data="fashion-mnist-subset",
    budget={"latency": "50%", "max_drop_points": 1.0},
    recovery={"augment": True},
)


def run_recipe(
    path: Path, out: Path, *, replay: Path | None = None, progress: Progress | None = None
) -> RunRecord:
    """Read a recipe, run it into `out` and return the record.

    Raises:
        InputError: the recipe, the model or the data cannot be used.
        BudgetError: no share of removed channels reaches the budget.
    """
    recipe = read_recipe(path)
    model = load_model(recipe.model, path.parent)
    data = load_data(recipe.data, path.parent)
    command = f"wieldy run {path.name} --out {out.name}"
    return follow(
        recipe, model, data, out, title=path.stem, command=command, replay=replay, progress=progress
    )


def demo(
    out: Path, *, threads: int | None = None, seed: int = 0, replay: Path | None = None,
    progress: Progress | None = None,
) -> RunRecord:  # fmt: skip
    """Shrink the embedded network to half its milliseconds and return the record."""
    from wieldy.zoo.data import fashion
    from wieldy.zoo.networks.residual import residual28

    recipe = DEMO.model_copy(update={"threads": threads, "seed": seed})
    command = f"wieldy demo --out {out.name} --seed {seed}" + (f" --threads {threads}" if threads else "")
    return follow(
        recipe, residual28(), fashion.embedded(), out, title="demo: a residual network on Fashion-MNIST",
        command=command, replay=replay, progress=progress, normalisation=((fashion.MEAN,), (fashion.STD,)),
    )  # fmt: skip


def follow(
    recipe: Recipe,
    model: nn.Module,
    data: Data,
    out: Path,
    *,
    title: str,
    command: str,
    replay: Path | None = None,
    progress: Progress | None = None,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = ((), ()),
) -> RunRecord:
    """Run a recipe on a model and data that are already at hand."""
    if recipe.tier is not None:
        check_tier(recipe.tier)
    run = Run(
        folder=prepared(out),
        data=data,
        budget=recipe.budget_value(),
        method=recipe.method_value() or default_method(data, recipe.seed),
        recovery=recipe.recovery_value(),
        quantize=recipe.quantize_value(recipe.tier or current_tier()),
        seed=recipe.seed,
        threads=recipe.threads or usable_cores(),
        tier=recipe.tier or current_tier(),
        batch=recipe.batch,
        title=title,
        recipe=recipe.model_dump(),
        reproduce=(command, f"wieldy bench {out.name}/original.wieldy {out.name}/small.wieldy"),
        ledger=opened_ledger(out, replay),
        progress=progress or Silent(),
        normalisation=normalisation,
    )
    execute(run, model)
    return RunRecord.from_json((out / RECORD).read_text(encoding="utf-8"))
