"""Tables of what the code says of itself: verbs, recipes, errors, formats, tiers, evidence."""

import ast
import inspect
import re
import sys
import textwrap
import tokenize
import types
import typing
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import griffe
import numpy as np
from docstrings import rewritten
from measured import table
from numpy.typing import NDArray
from typer.models import ArgumentInfo, OptionInfo

import wieldy
from wieldy.assure.bounds.steps import bounded
from wieldy.assure.checks import Checks
from wieldy.assure.corruptions import CORRUPTIONS
from wieldy.assure.floors import FIGURES
from wieldy.cli.main import VERBS
from wieldy.core import errors
from wieldy.core.config import Frozen
from wieldy.core.errors import WieldyError
from wieldy.flow.recipe import Recipe
from wieldy.flow.state import Planning, Recovery
from wieldy.formats import FORMATS, Format
from wieldy.formats.integer import IntegerFormat
from wieldy.formats.level_blocks import INPUTS, LevelBlockFormat
from wieldy.formats.sparse import SparseFormat
from wieldy.formats.unified import UnifiedFormat
from wieldy.kernels.native import level_variant_for, variant_for
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.methods.registry import METHODS, may_leave_zeros
from wieldy.plan.budget import Budget
from wieldy.runtime.integers import SATURATING
from wieldy.runtime.tier import CAPS, NEEDS
from wieldy.train.fit import FitConfig

PARTS: dict[str, type[Frozen]] = {  # of a recipe, by the key under which each stands
    "": Recipe,
    "budget": Budget,
    "recovery": Recovery,
    "recovery.fit": FitConfig,
    "evidence": Checks,
    "quantize": IntegerConfig,
    "plan": Planning,
}
MEANINGS = {0: "met", 1: "a goal was missed", 2: "bad input", 3: "our own fault", 130: "interrupted"}
WRITTEN = {  # goals, as a recipe has them
    "latency_ratio": "latency: 50%",
    "latency_ms": "latency: 0.5ms",
    "macs_ratio": "macs: 40%",
    "bytes_ratio": "bytes: 20%",
    "bytes": "bytes: 90000",
}
WORDS = {  # of keys whose names say it, where they stand
    "seed": "of everything that is random",
    "fit": "how it is trained",
    "epochs": "passes over the training examples",
    "batch_size": "examples in a step",
    "learning_rate": "at its highest",
    "momentum": "Nesterov's",
    "bias_correction": "whether biases make up for what rounding shifts",
    "block": "rows and columns",
    "weight_bits": "of a weight; what `quantize: true` takes follows the tier",
    "temperature": "by which the original's answers are divided before the small network learns them",
}
LEAVES = {  # what methods of a folder make, but for fewer channels and zeros
    "factor": "two thinner layers",
    "quantize": "whole numbers",
    "share": "blocks of one magnitude, zeros",
}
RUN_AS = {  # what becomes of a tensor in the runtime
    SparseFormat: "without its zeros where that pays, else dense",
    LevelBlockFormat: "in whole numbers, without its zeros",
    IntegerFormat: "in whole numbers",
    UnifiedFormat: "dense",
}


def verbs() -> str:
    """Every verb of the command line with its example."""
    rows = []
    for name, verb in VERBS.items():
        text = verb.__doc__ or ""
        rows.append([f"`{name}`", text.split("\n")[0], f"`{_examples(text)[0]}`"])
    return table(["verb", "what it does", "example"], rows)


def command_line() -> str:
    """Every verb with its arguments and options."""
    return "\n".join(_verb(name, verb) for name, verb in VERBS.items())


def _verb(name: str, verb: Callable[..., Any]) -> str:
    text = inspect.cleandoc(verb.__doc__ or "")
    words = "\n\n".join(part for part in text.split("\n\n") if not part.startswith("Example: "))
    examples = "\n\n".join(f"`{example}`" for example in _examples(text))
    hints = typing.get_type_hints(verb, include_extras=True)
    rows = [_option(of, hints[of.name]) for of in inspect.signature(verb).parameters.values()]
    return f"## {name}\n\n{words}\n\n{examples}\n\n" + table(["", "what it is", "default"], rows)


def _examples(text: str) -> list[str]:
    return re.findall(r"Example: (.*)", text)


def _option(of: inspect.Parameter, hint: Any) -> list[str]:
    """Return an argument's or option's row: how it is written, what it is, its default."""
    kind, info = typing.get_args(hint)[:2]
    assert isinstance(info, OptionInfo | ArgumentInfo)
    if isinstance(info, ArgumentInfo):
        written = f"`{of.name.upper()}`"
    else:
        given = [name for name in (info.default, *(info.param_decls or ())) if str(name).startswith("--")]
        flag = given[0] if given else f"--{of.name.replace('_', '-')}"
        written = f"`{flag}`" if kind is bool else f"`{flag} {_kind(kind)}`"
    words, said = (info.help or "").partition(" Default: ")[::2]
    default = said.rstrip(".") or (
        f"`{of.default}`" if isinstance(of.default, int | str | Path) and of.default is not False else ""
    )
    return [written, words.rstrip("."), "must be given" if of.default is of.empty else default]


def _kind(kind: Any) -> str:
    """Return what an option takes, as a word in capitals."""
    if isinstance(kind, types.UnionType):
        kind = next(of for of in typing.get_args(kind) if of is not type(None))
    several = typing.get_origin(kind) is list
    kind = typing.get_args(kind)[0] if several else kind
    word = {int: "NUMBER", float: "NUMBER", Path: "PATH", str: "TEXT"}.get(kind, "NAME")
    return f"{word} ..." if several else word


def python() -> str:
    """What mkdocstrings writes the reference from: every public name."""
    return "\n".join(f"::: wieldy.{name}\n" for name in sorted(wieldy.__all__, key=str.lower))


def recipe_keys() -> str:
    """Every key of a recipe, part by part, and every method's settings."""
    parts = [_part(f"`{where}`" if where else "The recipe", kind) for where, kind in PARTS.items()]
    methods = {kind: method.name for kind, method in METHODS.items() if kind not in PARTS.values()}
    parts += [_part(f"`method: {{name: {name}}}`", kind) for kind, name in methods.items()]
    return "\n".join(parts)


def _part(title: str, kind: type[Frozen]) -> str:
    words = documented(kind)
    defaults = Recovery().fit if kind is FitConfig else None
    rows = []
    for name, field in kind.model_fields.items():
        written = WRITTEN.get(name, name) if kind is Budget else name
        value = field.get_default(call_default_factory=True) if defaults is None else getattr(defaults, name)
        default = "must be given" if field.is_required() else _shown(value)
        rows.append([f"`{written}`", words[name].rstrip("."), default])
    return f"## {title}\n\n" + table(["key", "what it is", "default"], rows)


def _shown(value: Any) -> str:
    """Return a default as a recipe writes it; nothing where there is none."""
    if isinstance(value, Frozen):
        return "below"
    return "" if value is None or value in ((), {}) else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def documented(kind: type[Frozen]) -> dict[str, str]:
    """Return what a config's fields are: from its docstring, its bases', or the comment beside a field."""
    found = dict(WORDS)
    for of in reversed(kind.__mro__):
        if issubclass(of, Frozen) and of is not Frozen:
            found |= dict(_comments(of)) | dict(_entries(of.__doc__ or ""))
    for name, field in kind.model_fields.items():
        choices = ", ".join(f"`{choice}`" for choice in _choices(field.annotation))
        said = [*([found[name]] if name in found else []), *([choices] if choices else [])]
        assert said, f"{kind.__name__}: nothing says what {name} is"
        found[name] = "; ".join(said)
    return found


def _choices(kind: Any) -> tuple[Any, ...]:
    """Return what a field may be, where there are only a few things."""
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return tuple(choice for of in typing.get_args(kind) for choice in _choices(of))
    return ()


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for section in griffe.Docstring(rewritten(inspect.cleandoc(text))).parse("google", warnings=False):
        if section.kind.value in ("parameters", "attributes"):
            yield from ((entry.name, " ".join(entry.description.split())) for entry in section.value)


def _comments(kind: type) -> Iterator[tuple[str, str]]:
    """Yield the fields of a class with the comments at their ends."""
    source = textwrap.dedent(inspect.getsource(kind))
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
    whole = ast.parse(source).body[0]
    assert isinstance(whole, ast.ClassDef)
    for node in whole.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if beside := [comments[line].removeprefix("# ") for line in lines if line in comments]:
                yield node.target.id, " ".join(beside)


def error_kinds() -> Iterator[type[WieldyError]]:
    """Yield every error of ours, parents first."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, WieldyError):
            yield kind


def exit_codes() -> str:
    """Every exit code with the errors that lead to it."""
    rows = []
    for code, meaning in MEANINGS.items():
        names = [f"`{of.__name__}`" for of in error_kinds() if of.exit_code == code and of is not WieldyError]
        rows.append([str(code), meaning, ", ".join(names)])
    return table(["code", "meaning", "errors"], rows)


def error_tree() -> str:
    """Every error under its parent, with the exit code that it leads to."""
    rows = []
    for kind in error_kinds():
        depth = len(kind.__mro__) - len(WieldyError.__mro__)
        name = "&nbsp;&nbsp;&nbsp;&nbsp;" * depth + f"`{kind.__name__}`"
        rows.append([name, (kind.__doc__ or "").split("\n")[0], str(kind.exit_code)])
    return table(["error", "what it says", "exit code"], rows)


def formats() -> str:
    """Every format, how it runs, and what a weight with nine tenths of zeros takes in it."""
    rows = []
    for name, form in FORMATS.items():
        words = (sys.modules[type(form).__module__].__doc__ or "").split("\n")[0]
        runs = next((text for kind, text in RUN_AS.items() if isinstance(form, kind)), "dense")
        down, across = _block(form)
        weight = _weight(form)
        share = form.byte_count(weight) / weight.nbytes
        rows.append([f"`{name}`", words.split(":")[0], f"{down} x {across}", runs, f"{share:.1%}"])
    return table(["format", "what it holds", "blocks", "runs", "bytes over dense"], rows)


def _block(form: Format) -> tuple[int, int]:
    """Return how many rows and columns a format keeps or leaves out together."""
    if isinstance(form, LevelBlockFormat):
        return form.rows, INPUTS
    if isinstance(form, UnifiedFormat):
        return form.rows, form.columns
    return (form.block, 1) if isinstance(form, SparseFormat) else (1, 1)


def _weight(form: Format) -> NDArray[np.float32]:
    """Return 256 x 256 numbers, nine tenths of them zeros, that lie as a format would have them."""
    rng, block = np.random.default_rng(0), _block(form)
    blocks = (256 // block[0], 256 // block[1])
    kept = np.kron(rng.random(blocks) < 0.1, np.ones(block))
    if isinstance(form, UnifiedFormat):
        numbers = rng.choice([-1.0, 1.0], (256, 256)) * np.kron(rng.random(blocks), np.ones(block))
    elif isinstance(form, IntegerFormat):
        numbers = rng.integers(-form.largest, form.largest + 1, (256, 256)) / 256
        numbers[:, 0] = form.largest / 256
        kept[:, 0] = kept.any(axis=1)
    else:
        numbers = rng.normal(size=(256, 256))
    return np.asarray(kept * numbers, np.float32)


def tiers() -> str:
    """Every tier with the instructions that it needs and what runs there."""
    rows = []
    for tier, flags in NEEDS.items():
        eight = "float32 where sums might saturate" if tier in SATURATING else "whole numbers"
        rows.append(
            [
                f"`{tier}`",
                " ".join(f"`{flag}`" for flag in sorted(flags)),
                f"`{CAPS[tier]}`" if tier in CAPS else "",
                f"`{variant_for(tier)}`",
                f"`{level_variant_for(tier)}`",
                eight,
            ]
        )
    head = [
        "tier",
        "the CPU has",
        "OpenVINO's cap",
        "zeros in float32",
        "zeros in eight bits",
        "dense eight bits",
    ]
    return table(head, rows)


def method_support() -> str:
    """Every method with what it needs and what it leaves."""
    rows = []
    for kind, method in METHODS.items():
        leaves = "zeros" if may_leave_zeros(kind()) else "fewer channels"
        leaves = LEAVES.get(kind.__module__.split(".")[-2], leaves)
        leaves += ", for eight bits with `inputs: 4`" if "inputs" in kind.model_fields else ""
        text = (sys.modules[method.apply.__module__].__doc__ or "").split("\n")[0]
        needs = {"hook": "training", "score": "", "transform": ""}[method.shape]
        needs = needs or ("examples" if method.needs_stats else "nothing")
        rows.append([f"`{method.name}`", text, method.shape, needs, leaves])
    return table(["method", "what it does", "shape", "needs", "leaves"], rows)


def floors() -> str:
    """Every figure that a floor may be put on."""
    rows = [
        [f"`{name}`", figure.kind, figure.words, "points" if figure.in_points else "a share"]
        for name, figure in FIGURES.items()
    ]
    return table(["floor", "read from", "what it limits", "in"], rows)


def corruptions() -> str:
    """The corruptions by name."""
    return ", ".join(CORRUPTIONS) + ".\n"


def bounded_operators() -> str:
    """The operators that have bounds, by name."""
    return ", ".join(f"`{name}`" for name in bounded()) + ".\n"


def check_settings() -> str:
    """How closely saved files are looked at, unless told otherwise."""
    return _part("", Checks).removeprefix("## \n\n")
