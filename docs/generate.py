"""Write the tables of the docs that come from code and results; `--check` fails where one is stale.

A table stands between two comments, `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import described
from examined import evidence_kinds
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

from wieldy.flow.schema import recipe_schema
from wieldy.graph.arguments import REWRITTEN
from wieldy.graph.ops import EXPAND, OPS, WEIGHTED
from wieldy.graph.reader import EXPANDS, RESHAPES
from wieldy.graph.rewrites import REWRITES
from wieldy.graph.rules import rule_of
from wieldy.methods.registry import METHODS
from wieldy.report.schema import report_schema
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


TABLES: dict[str, Callable[[], str]] = {
    "methods": methods,
    "verbs": described.verbs,
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
    "exit-codes": described.exit_codes,
    "error-tree": described.error_tree,
    "command-line": described.command_line,
    "python": described.python,
    "recipe-keys": described.recipe_keys,
    "formats": described.formats,
    "tiers": described.tiers,
    "method-support": described.method_support,
    "evidence-kinds": evidence_kinds,
    "floors": described.floors,
    "corruptions": described.corruptions,
    "bounded": described.bounded_operators,
    "check-settings": described.check_settings,
}


def fresh_files() -> Iterator[tuple[Path, str]]:
    """Yield every file with tables, and what is generated as a whole, as it should be."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        yield path, BLOCK.sub(lambda block: block[1] + TABLES[block[2]]() + block[3], text)
    yield ROOT / "docs" / "recipe.schema.json", json.dumps(recipe_schema(), indent=1) + "\n"
    yield ROOT / "docs" / "report.schema.json", json.dumps(report_schema(), indent=1) + "\n"


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
