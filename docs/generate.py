"""Write the tables of the docs that come from code and results; `--check` fails where one is stale.

A table stands between two comments, `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from measured import (
    any_network,
    claims,
    costs,
    engine,
    importance,
    int8,
    large_surgery,
    prune,
    ranges,
    soak,
    table,
)
from measured_levels import engine_levels, levels
from measured_runs import exports, fuzz, kills, mix, mobilenet, ranks, sweeps

from wieldy.cli.main import VERBS
from wieldy.core import errors
from wieldy.core.errors import WieldyError
from wieldy.flow.schema import recipe_schema
from wieldy.graph.arguments import REWRITTEN
from wieldy.graph.ops import EXPAND, OPS, WEIGHTED
from wieldy.graph.reader import EXPANDS, RESHAPES
from wieldy.graph.rewrites import REWRITES
from wieldy.graph.rules import rule_of
from wieldy.methods.registry import METHODS
from wieldy.zoo.networks import residual

ROOT = Path(__file__).parent.parent
RESHAPE = "aten.reshape.default"
BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def methods() -> str:
    """Every entry of METHODS with its settings."""
    rows = []
    for kind, method in METHODS.items():
        settings = ", ".join(f"`{name}={field.default!r}`" for name, field in kind.model_fields.items())
        text = (sys.modules[method.apply.__module__].__doc__ or "").split("\n")[0]
        rows.append([f"`{method.name}`", method.shape, text, settings])
    return table(["method", "shape", "what it does", "settings"], rows)


def attacks() -> str:
    """Every numbered try to bring down whoever opens a package, with the error that refuses it."""
    rows = []
    for path in sorted((ROOT / "tests" / "attacks").glob("[0-9]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = next(node for node in tree.body if isinstance(node, ast.Assign))
        assert isinstance(named.value, ast.Constant)
        rows.append([path.name[:2], (ast.get_docstring(tree) or "").rstrip("."), f"`{named.value.value}`"])
    return table(["", "what is tried", "refused as"], rows)


def verbs() -> str:
    """Every verb of the command line with its example."""
    rows = []
    for name, verb in VERBS.items():
        text = verb.__doc__ or ""
        example = text.split("Example: ")[1].split("\n")[0]
        rows.append([f"`{name}`", text.split("\n")[0], f"`{example}`"])
    return table(["verb", "what it does", "example"], rows)


def operators() -> str:
    """Every operator that a program may hold, how else it is written, and what can be done to it."""
    spellings: dict[str, list[str]] = {name: [] for name in OPS}
    kept = {**REWRITTEN, **dict.fromkeys(RESHAPES, RESHAPE), **dict.fromkeys(EXPANDS, EXPAND)}
    for written, name in sorted(kept.items()):
        if written != name:
            spellings[name].append(f"`{written.removeprefix('aten.')}`")
    rows = []
    for name in sorted(OPS):
        compressed = ["8 bits", "low rank"] * (name in WEIGHTED)
        text = (rule_of(name).__doc__ or "").split("\n")[0]
        row = [f"`{name.removeprefix('aten.')}`", ", ".join(spellings[name]), text, ", ".join(compressed)]
        rows.append(row)
    return table(["operator", "also written", "when channels, heads or units go", "and"], rows)


def rewritten() -> str:
    """What is taken apart into operators that a program may hold."""
    names = sorted(name.removeprefix("aten.") for name in REWRITES.keys() - OPS.keys())
    return ", ".join(f"`{name}`" for name in names) + "\n"


def embedded() -> str:
    """What is known of the embedded network."""
    card = residual.card()
    keys = ("accuracy_test_10000", "accuracy_validate_2000", "parameters", "command", "sha256")
    return table(["fact", "value"], [[key, f"`{card[key]}`"] for key in keys])


def exit_codes() -> str:
    """Every exit code with the errors that lead to it."""
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, WieldyError)
    ]
    meanings = {0: "met", 1: "a goal was missed", 2: "bad input", 3: "our own fault", 130: "interrupted"}
    rows = []
    for code, meaning in meanings.items():
        names = ", ".join(
            f"`{kind.__name__}`" for kind in kinds if kind.exit_code == code and kind is not WieldyError
        )
        rows.append([str(code), meaning, names])
    return table(["code", "meaning", "errors"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "methods": methods,
    "verbs": verbs,
    "operators": operators,
    "rewritten": rewritten,
    "any": any_network,
    "ranges": ranges,
    "claims": claims,
    "importance": importance,
    "prune": prune,
    "large-surgery": large_surgery,
    "embedded": embedded,
    "engine": engine,
    "engine-levels": engine_levels,
    "levels": levels,
    "costs": costs,
    "soak": soak,
    "int8": int8,
    "mix": mix,
    "mobilenet": mobilenet,
    "kills": kills,
    "ranks": ranks,
    "sweeps": sweeps,
    "exports": exports,
    "fuzz": fuzz,
    "attacks": attacks,
    "exit-codes": exit_codes,
}


def fresh_files() -> Iterator[tuple[Path, str]]:
    """Yield every file with tables, and what is generated as a whole, as it should be."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        yield path, BLOCK.sub(lambda block: block[1] + TABLES[block[2]]() + block[3], text)
    yield ROOT / "docs" / "recipe.schema.json", json.dumps(recipe_schema(), indent=1) + "\n"


def main(check: bool) -> int:
    """Rewrite every generated table, or say which are stale."""
    stale = []
    for path, fresh in fresh_files():
        if not path.is_file() or fresh != path.read_text(encoding="utf-8"):
            stale.append(path.name)
            if not check:
                path.write_text(fresh, encoding="utf-8")
    if stale:
        print(
            f"{'stale' if check else 'written'}: {', '.join(stale)}" + (" (run: make docs)" if check else "")
        )
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
