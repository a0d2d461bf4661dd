"""An extension of griffe: docstrings as this tree writes them, as mkdocstrings reads them.

- `a, b: words` under Args stands for both names, each with its own type.
- `Example:` is what griffe calls `Examples:`.
- Configs are pydantic models: what they are made with are their fields.
"""

import ast
import re
from typing import Any

import griffe

CONFIG = "wieldy.core.config.Frozen"
TOGETHER = re.compile(r"^( +)(\w+(?:, \w+)+)(: .*(?:\n\1 +\S.*)*)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """See above."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of whatever has one."""
        if obj.docstring:
            obj.docstring.value = rewritten(obj.docstring.value)

    def on_class_members(self, *, node: ast.AST | griffe.ObjectNode, cls: griffe.Class, **_: Any) -> None:  # noqa: ARG002
        """Give a config the constructor that pydantic makes of its fields."""
        if any(getattr(base, "canonical_path", base) == CONFIG for base in cls.bases):
            fields = [member for member in cls.members.values() if is_field(member)]
            made_with = [
                griffe.Parameter(
                    field.name,
                    annotation=field.annotation,
                    kind=griffe.ParameterKind.keyword_only,
                    default=None if field.value is None else default_of(str(field.value)),
                )
                for field in fields
            ]
            cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*made_with)))


def is_field(member: griffe.Object | griffe.Alias) -> bool:
    """Whether a member of a config is what it is made with, and neither a property nor of the class."""
    has_type = member.is_attribute and "property" not in member.labels and bool(member.annotation)
    return has_type and not str(member.annotation).startswith("ClassVar")


def rewritten(text: str) -> str:
    """Return a docstring in which every name has an entry of its own."""
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    return TOGETHER.sub(
        lambda entry: "\n".join(entry[1] + name + entry[3] for name in entry[2].split(", ")), text
    )


def default_of(value: str) -> str:
    """Return a field's default as a signature shows it.

    Example:
        >>> default_of("Field(default=0.5, gt=0)"), default_of("3")
        ('0.5', '3')
    """
    call = ast.parse(value, mode="eval").body
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != "Field":
        return value
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    made = f"{given['default_factory']}()" if "default_factory" in given else "..."
    return ast.unparse(call.args[0]) if call.args else given.get("default", made)
