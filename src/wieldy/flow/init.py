"""A first recipe for a model of the user's own: what its file offers, tried, and written with comments."""

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from wieldy.core.data import Data
from wieldy.core.errors import ConfigError
from wieldy.flow.dry_run import facts_of
from wieldy.flow.shrink import check_data, first_input
from wieldy.flow.sources import BUILT_IN, imported_as_script, load_data, load_model
from wieldy.graph.trace import trace

TEMPLATE = """\
# wieldy run {file}
# Every key but the first three has a default; docs/recipes.md says more.

model: {model}{weights}
data: {data}          # or one of {built_in}

# What has to come out, measured on the saved file on this machine.
budget:
  latency: 50%               # of the original's milliseconds; or a time, such as 0.5ms
  max_drop_points: 1.0       # that {metric} may lose on the test examples, in hundredths of its scale
  # bytes: 20%               # or a number of them; macs: 40%. All goals that are given must be met

# How: the default takes whole channels out. See docs/recipes.md for the others.
# method: {{name: zeros, sparsity: 0.9}}
# quantize: true             # eight bits at the end, as this machine's tier wants them

# How what is left learns again, from the labels and from the original.
recovery:
  fit: {{epochs: 5, learning_rate: 0.01}}
  # augment: true            # mirror and shift pictures, where neither changes the label

seed: 0
"""


STATES = (".safetensors", ".pt", ".pth")  # how files with a state_dict end
WORDS = {"model": "model|net", "data": "data|loader"}


@dataclass(frozen=True)
class Offer:
    """What a file defines that can stand in a recipe: names of models, and of data."""

    models: tuple[str, ...]
    data: tuple[str, ...]


def offer_of(path: Path) -> Offer:
    """Return the names in a file that may be its model and its data.

    A model is a module, or a class of modules or a function that needs no arguments. What a function returns
    is told by its annotation or else by its name, and one that says nothing is offered as both.

    Raises:
        ConfigError: there is no such file, or it raises.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: is no file. Name the Python file that defines your model.")
    module = imported_as_script(path)
    models, data = [], []
    for name, value in vars(module).items():
        made_here = getattr(value, "__module__", None) == module.__name__
        if name.startswith("_") or not (made_here or isinstance(value, (nn.Module, Data))):
            continue
        kinds = _kinds(name, value)
        models += [name] if "model" in kinds else []
        data += [name] if "data" in kinds else []
    return Offer(tuple(models), tuple(data))


def _kinds(name: str, value: Any) -> set[str]:
    """Return what a value of a user's file may be: model, data, both or neither."""
    if isinstance(value, nn.Module):
        return {"model"}
    if isinstance(value, Data):
        return {"data"}
    if not callable(value) or _needs_arguments(value):
        return set()
    if inspect.isclass(value):
        return {"model"} if issubclass(value, nn.Module) else set()
    returned = inspect.signature(value).return_annotation
    if inspect.isclass(returned) and issubclass(returned, (nn.Module, Data, dict)):
        return {"model"} if issubclass(returned, nn.Module) else {"data"}
    said = {kind for kind, words in WORDS.items() if re.search(words, name, re.IGNORECASE)}
    return said or set(WORDS)


def _needs_arguments(value: Any) -> bool:
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):  # some built-in things have none
        return True
    optional = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return any(of.default is of.empty and of.kind not in optional for of in parameters)


def untrained(path: Path, model: str) -> str:
    """Say that a model has no weights but those that it is made with, where that is so; else nothing.

    Args:
        path, model: a file, and a name of what it offers: a class is made anew whenever a run begins.
    """
    if not inspect.isclass(getattr(imported_as_script(path), model, None)):
        return ""
    folder = path.parent.resolve()
    states = [of.name for kind in STATES for of in sorted(folder.glob(f"*{kind}"))]
    near = f" Beside it there is {', '.join(states)}." if states else ""
    return (
        f"{model} is a class, so its weights are those that it is made with: nothing that was trained. Name "
        f"the file that holds its state_dict, with --weights.{near}"
    )


def commented(file: Path, model: str, data: str, out: Path, *, weights: str | None = None) -> tuple[str, str]:
    """Return the text of a recipe for a model and data of a file, and what was found of the model.

    Args:
        file: that defines the model, and the data unless those are built in.
        model, data: names in it.
        out: where the recipe will stand; what it names is relative to that.
        weights: a file with the model's state.

    Raises:
        InputError: the model cannot be followed, or it and the data do not fit.
    """
    folder = out.parent.resolve()
    where = _relative(file, folder)
    spec, source = f"{where}:{model}", data if data in BUILT_IN else f"{where}:{data}"
    state = None if weights is None else _relative(Path(weights), folder)
    found, examples = load_model(spec, folder, state), load_data(source, folder)
    network = trace(found, first_input(examples))
    check_data(network, examples)
    text = TEMPLATE.format(
        file=out.name, model=spec, data=source, metric=examples.metric.name, built_in=", ".join(BUILT_IN),
        weights=f"\nweights: {state}" if state else "",
    )  # fmt: skip
    return text, facts_of(found, network, examples)


def _relative(path: Path, folder: Path) -> str:
    """Return a path as a recipe in `folder` names it."""
    whole = path.resolve()
    return str(whole.relative_to(folder)) if whole.is_relative_to(folder) else str(whole)
