"""What a recipe names: models, weights and data in files of the user's own, and sets that are built in."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from wieldy.core.data import Data
from wieldy.core.errors import ConfigError, WieldyError

BUILT_IN = ("fashion-mnist-subset", "fashion-mnist", "mnist", "optical-digits")


def load_model(spec: str, folder: Path, weights: str | None = None) -> nn.Module:
    """Return the module that `file.py:name` is or yields, with weights from a file if one is named.

    Args:
        spec: relative to `folder`, as is `weights`.
        folder: of the recipe.
        weights: safetensors, or a `state_dict` in torch's own form, which is read without running code.

    Raises:
        ConfigError: there is no such thing, it raises, it is no module, or the weights are not its own.
    """
    model = yielded(spec, folder)
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"model: {spec} must be or return a torch module; got {type(model).__name__}.", ("model",)
        )
    if weights is not None:
        try:
            model.load_state_dict(_state(folder / weights))
        except (RuntimeError, KeyError, AttributeError) as error:  # torch's words for what does not fit
            words = " ".join(str(error).split())
            raise ConfigError(
                f"weights: {weights} does not fit {spec}: {words[:300]}", ("weights",)
            ) from None
    return model.eval()


def _state(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(
            f"weights: {path} cannot be read ({error.strerror or error}).", ("weights",)
        ) from None
    except Exception as error:  # noqa: BLE001 - there are as many kinds as ways to be torn
        words = str(error).split("\n", 1)[0]
        raise ConfigError(
            f"weights: {path} holds no state_dict ({words[:200]}). Save one: "
            "safetensors.torch.save_file(model.state_dict(), path).",
            ("weights",),
        ) from None
    if not isinstance(found, dict):
        raise ConfigError(f"weights: {path} holds no state_dict but a {type(found).__name__}.", ("weights",))
    return found


def load_data(spec: str, folder: Path) -> Data:
    """Return a built-in set by name, or what `file.py:name` is or yields.

    Raises:
        ConfigError: there is no such thing, it raises, or it is no data.
        DataError: what it yields cannot be used as data.
    """
    if ":" not in spec:
        return built_in(spec)
    data = yielded(spec, folder)
    if isinstance(data, dict):
        data = Data(**data)
    if not isinstance(data, Data):
        raise ConfigError(
            f"data: {spec} must be or return wieldy.Data, or a dict of its arguments such as "
            f"dict(train=..., validate=..., test=...); got {type(data).__name__}.",
            ("data",),
        )
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
        raise ConfigError(
            f"data: must be file.py:name or one of {', '.join(BUILT_IN)}; got {name!r}.", ("data",)
        )
    return sets[name]()


def yielded(spec: str, folder: Path) -> Any:
    """Return what `file.py:name` is, or what it returns where it is no module or data but can be called."""
    file, _, name = spec.rpartition(":")
    path = folder / file
    if not file or not path.is_file():
        raise ConfigError(f"{spec}: must be file.py:name with an existing file; {path} is none.")
    with _as_its_own_script(path, spec):
        found = getattr(imported(path), name, None)
        if found is None:
            raise ConfigError(f"{spec}: {path} defines no {name!r}.")
        return found() if callable(found) and not isinstance(found, (nn.Module, Data)) else found


def imported_as_script(path: Path) -> ModuleType:
    """Import a file of the user's own.

    Raises:
        ConfigError: it raises.
    """
    with _as_its_own_script(path, path.name):
        return imported(path)


def imported(path: Path) -> ModuleType:
    """Import a file by its path, anew."""
    found = importlib.util.spec_from_file_location(f"wieldy_recipe_{path.stem}", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses and the like look it up
    found.loader.exec_module(module)
    return module


@contextmanager
def _as_its_own_script(path: Path, spec: str) -> Iterator[None]:
    """Let a file import what lies beside it, as if it were run, and put what it raises in a sentence."""
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        yield
    except WieldyError:
        raise
    except Exception as error:
        raise ConfigError(f"{spec}: raised {type(error).__name__}: {error}") from error
    finally:
        with suppress(ValueError):  # the file may have taken it out itself
            sys.path.remove(str(path.parent.resolve()))
