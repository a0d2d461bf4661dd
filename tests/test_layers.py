"""The rules of the tree: who may import whom, and what no file may hold."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

import wieldy

SOURCE = Path(wieldy.__file__).parent
FOLDERS = (
    "core", "zoo", "kernels", "formats", "graph", "package", "runtime", "stats", "methods",
    "compress", "train", "plan", "assure", "report", "claims", "flow", "cli",
)  # fmt: skip
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 450, 45


def offenders(rule, paths=FILES):
    """Return what a rule finds in each file where it finds anything."""
    return {str(path.relative_to(SOURCE)): found for path in paths if (found := rule(path))}


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def is_for_types_only(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(node, package=()):
    """Yield (line, module) of every import that runs, wherever in the file it stands."""
    for child in ast.iter_child_nodes(node):
        if is_for_types_only(child):
            for other in child.orelse:
                yield from imports(ast.Module([other], []), package)
        elif isinstance(child, ast.Import):
            yield from ((child.lineno, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = ".".join(package[: len(package) - child.level + 1]) if child.level else ""
            module = ".".join(part for part in (base, child.module) if part)
            yield child.lineno, module
            yield from ((child.lineno, f"{module}.{alias.name}") for alias in child.names)
        else:
            yield from imports(child, package)


def package_of(path):
    return ("wieldy", *path.relative_to(SOURCE).parent.parts)


def downstream(path, tree=None):
    """Return the imports of a file that point to a folder below its own."""
    own = path.relative_to(SOURCE).parts
    if len(own) == 1:  # wieldy/__init__.py and its like
        return []
    rank = FOLDERS.index(own[0])
    found = []
    for line, module in imports(tree or tree_of(path), package_of(path)):
        parts = module.split(".")
        if parts[0] == "wieldy" and len(parts) > 1 and parts[1] in FOLDERS[rank + 1 :]:
            found.append(f"line {line}: {module}")
    return found


def test_every_folder_has_its_place_in_the_order():
    present = [path.name for path in SOURCE.iterdir() if path.is_dir() and any(path.rglob("*.py"))]
    assert set(present) <= set(FOLDERS)
    assert len(present) > 10


def test_a_folder_imports_only_from_folders_above_it():
    assert offenders(downstream) == {}


@pytest.mark.parametrize(
    "code",
    [
        "import wieldy.flow.shrink",
        "from wieldy.train import fit",
        "from wieldy import train",
        "from ..train.fit import fit",
        "from .. import train",
        "def f():\n    from wieldy.train.fit import fit",
        "try:\n    import wieldy.cli\nexcept ImportError:\n    pass",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import wieldy.cli",
    ],
)
def test_an_import_that_points_downstream_is_found(code):
    assert downstream(SOURCE / "plan" / "x.py", ast.parse(code.replace("train", "report"))) != []


@pytest.mark.parametrize(
    "code",
    [
        "from wieldy.core import errors",
        "from wieldy.plan.budget import Budget",
        "from .. import core",
        "import reporting",
        "if TYPE_CHECKING:\n    from wieldy.flow.shrink import shrink",
        "if typing.TYPE_CHECKING:\n    import wieldy.cli",
    ],
)
def test_an_import_that_points_upstream_is_not(code):
    assert downstream(SOURCE / "plan" / "x.py", ast.parse(code)) == []


def test_the_top_imports_nothing_but_the_version():
    found = {module for _, module in imports(tree_of(SOURCE / "__init__.py"), ("wieldy",))}
    ours = {module for module in found if module.startswith("wieldy.")}
    assert {module.rpartition(".")[0] for module in ours} <= {"wieldy.core", "wieldy.core.version",
                                                              "wieldy.core.optional"}  # fmt: skip


def test_no_pickle_is_read_or_written():
    pickles = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}

    def rule(path):
        return pickles & {module.split(".")[0] for _, module in imports(tree_of(path))}

    assert offenders(rule) == {}


def test_no_star_import():
    assert offenders(lambda path: [m for _, m in imports(tree_of(path)) if m.endswith("*")]) == {}


def test_no_bare_except():
    def bare(path):
        handlers = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ExceptHandler)]
        return [handler.lineno for handler in handlers if handler.type is None]

    assert offenders(bare) == {}


def test_no_file_is_called_after_nothing():
    names = ("utils.py", "util.py", "helpers.py", "misc.py", "common.py")
    assert offenders(lambda path: path.name in names) == {}


def test_no_file_is_too_long_to_read():
    def excess(path):
        return max(0, len(path.read_text(encoding="utf-8").splitlines()) - LONGEST_FILE)

    assert offenders(excess) == {}


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def body_lines(function):
    """Lines of a function without its signature and its docstring."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_no_function_is_too_long_to_read():
    def long(path):
        sizes = {function.name: body_lines(function) for function in functions(tree_of(path))}
        return {name: size for name, size in sizes.items() if size > LONGEST_FUNCTION}

    assert offenders(long) == {}


def test_every_public_function_and_class_says_what_it_does():
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

    def silent(path):
        public = [n for n in tree_of(path).body if isinstance(n, kinds) and not n.name.startswith("_")]
        return [node.name for node in public if not ast.get_docstring(node)]

    assert offenders(silent) == {}


def test_every_file_says_what_it_is_for():
    assert offenders(lambda path: not ast.get_docstring(tree_of(path))) == {}


def test_no_folder_shares_its_name_with_a_verb():
    assert set(FOLDERS).isdisjoint(wieldy.__all__)


TORCH_FREE = [
    *(
        path
        for path in FILES
        if path.relative_to(SOURCE).parts[0] in ("core", "formats", "package", "runtime")
    ),
    *(SOURCE / "graph" / name for name in ("ops.py", "program.py", "labels.py", "coupling.py", "removal.py")),
]


def test_what_runs_a_package_imports_only_the_base_install():
    base = {*sys.stdlib_module_names, "wieldy", "numpy", "pydantic", "safetensors", "openvino"}

    def rule(path):
        return {module.split(".")[0] for _, module in imports(tree_of(path))} - base

    assert offenders(rule, TORCH_FREE) == {}
    assert len(TORCH_FREE) > 20
