"""Whether a program may be followed: every operator, argument, name and size is looked at."""

import math
import re
import unicodedata
from collections.abc import Iterable

from wieldy.core.errors import NamingError, OperatorError, OversizeError, ProgramError, UndefinedError
from wieldy.core.strict_json import LARGEST
from wieldy.graph.ops import INTS, OPS
from wieldy.graph.program import DTYPES, Argument, Node, Program, Ref, Shape, Stored

VALUE_ELEMENTS = 2**28  # of a value, for each example: a gibibyte in float32
CONSTANT_ELEMENTS = 2**24  # of all values that depend on no input: they are computed when a package is opened
NAME_CHARACTERS = 1000
SLIDING = re.compile(r"(\d)d\.")  # in an operator's name: over how many axes it slides
REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # of the direction of writing


def check_program(program: Program) -> None:
    """Raise the error that names what is wrong, if anything is.

    Raises:
        OperatorError: an operator outside the allow-list, or a wrong argument.
        UndefinedError: a name that nothing before its use defines.
        NamingError: a name that is defined twice, or that would be read as another.
        OversizeError: a value that claims more elements than any may have.
        ProgramError: a value of an unknown dtype.
    """
    _check_names([*program.inputs, *program.tensors, *(node.name for node in program.nodes)])
    _check_names(node.module for node in program.nodes if node.module)
    known = set(program.inputs)
    for node in program.nodes:
        _check_node(node, program, known)
        if node.name in known:
            raise NamingError(f"program: the name {node.name!r} is defined twice.")
        known.add(node.name)
    missing = [name for name in program.outputs if name not in known]
    if missing or not program.outputs:
        raise UndefinedError(
            f"program: outputs must name at least one value that exists; got {list(program.outputs)}."
        )
    _check_sizes(program)


def _check_node(node: Node, program: Program, known: set[str]) -> None:
    if node.op not in OPS:
        raise OperatorError(f"program: node {node.name!r} uses {node.op!r}, which is not on the allow-list.")
    _check_arguments(node)
    if node.dtype not in DTYPES:
        raise ProgramError(
            f"program: node {node.name!r} must yield {', '.join(DTYPES)}; it says {node.dtype!r}."
        )
    for name in node.refs():
        if name not in known:
            raise UndefinedError(
                f"program: node {node.name!r} reads {name!r}, which nothing before it defines."
            )
    for name in node.stored():
        if name not in program.tensors:
            raise UndefinedError(
                f"program: node {node.name!r} reads the tensor {name!r}, which is not stored."
            )


def misleads(text: str) -> bool:
    """Whether a text, printed as it is, could steer a terminal or show in another order than it stands.

    Example:
        >>> misleads("zwölf"), misleads("a\x1b[2J"), misleads("exe.\u202efdp")
        (False, True, True)
    """
    return any(unicodedata.category(sign) in ("Cc", "Cs") or sign in REORDERING for sign in text)


def _check_names(names: Iterable[str]) -> None:
    """A name is printed as it is: it must show what it is, in the one form that Python gives identifiers."""
    for name in names:
        shown = name.isprintable() and unicodedata.is_normalized("NFKC", name)
        if not shown or not 0 < len(name) <= NAME_CHARACTERS:
            raise NamingError(
                f"program: a name must be 1 to {NAME_CHARACTERS} printable characters in Unicode's NFKC; got "
                f"{ascii(name)[:80]}."
            )


def _check_sizes(program: Program) -> None:
    """A value must be of a size that a machine may have, the more so where it is computed beforehand."""
    for name, spec in program.inputs.items():
        _check_size(name, spec.shape)
    varying, constant = set(program.inputs), 0
    for node in program.nodes:
        elements = _check_size(node.name, node.shape)
        if any(name in varying for name in node.refs()):
            varying.add(node.name)
        else:
            constant += elements
    if constant > CONSTANT_ELEMENTS:
        raise OversizeError(
            f"program: values that depend on no input may have {CONSTANT_ELEMENTS:,} elements in all; they "
            f"claim {constant:,}."
        )


def _check_size(name: str, shape: Shape) -> int:
    elements = math.prod(1 if size is None else size for size in shape)
    if elements > VALUE_ELEMENTS:
        raise OversizeError(
            f"program: {name!r} may have {VALUE_ELEMENTS:,} elements an example; {shape} are {elements:,}."
        )
    return elements


def _check_arguments(node: Node) -> None:
    kinds = dict(OPS[node.op])
    if set(kinds) != set(node.inputs):
        raise OperatorError(
            f"program: {node.op} of {node.name!r} must have {sorted(kinds)}; got {sorted(node.inputs)}."
        )
    for name, kind in kinds.items():
        value = node.inputs[name]
        if not fits(value, kind):
            raise OperatorError(f"program: {name!r} of {node.name!r} must be of kind {kind}; got {value!r}.")
        dimensions = _dimensions(node.op)
        if kind in INTS and dimensions and isinstance(value, tuple) and len(value) != dimensions:
            raise OperatorError(
                f"program: {name!r} of {node.name!r} must have {dimensions} numbers, as {node.op} has "
                f"dimensions; got {value!r}."
            )


def _dimensions(op: str) -> int:
    """Return over how many axes an operator slides, by its name; 0 where it slides over none.

    Example:
        >>> _dimensions("aten.max_pool2d.default"), _dimensions("aten.linear.default")
        (2, 0)
    """
    found = SLIDING.search(op)
    return int(found[1]) if found else 0


def fits(value: Argument, kind: str) -> bool:
    """Whether an argument is of a kind named in ops.py."""
    number = _whole(value) or (type(value) is float and math.isfinite(value))
    match kind:
        case "value":
            return isinstance(value, Ref)
        case "values":
            return isinstance(value, tuple) and bool(value) and all(isinstance(item, Ref) for item in value)
        case "tensor":
            return isinstance(value, Stored)
        case "tensor?":
            return value is None or isinstance(value, Stored)
        case "operand":
            return isinstance(value, (Ref, Stored)) or number
        case "operand?":
            return value is None or isinstance(value, (Ref, Stored))
        case "ints":
            return isinstance(value, tuple) and all(map(_whole, value))
        case "naturals" | "positives":
            least = 0 if kind == "naturals" else 1
            return isinstance(value, tuple) and all(
                type(item) is int and least <= item <= LARGEST for item in value
            )
        case "int":
            return _whole(value)
        case "positive":
            return _whole(value, 1)
        case "float":
            return number
        case "float?":
            return value is None or number
        case "bool":
            return isinstance(value, bool)
        case "dtype":
            return value in DTYPES
        case _ if "|" in kind:
            return isinstance(value, str) and value in kind.split("|")
        case _:
            return value is None


def _whole(value: object, least: int = -LARGEST) -> bool:
    return type(value) is int and least <= value <= LARGEST
