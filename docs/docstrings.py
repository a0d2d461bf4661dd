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
            fields = [member for member in cls.members.values() if member.is_attribute and member.annotation]
            made_with = [
                griffe.Parameter(
                    field.name,
                    annotation=field.annotation,
                    kind=griffe.ParameterKind.keyword_only,
                    default=default_of(str(field.value)) if field.value is not None else None,
                )
                for field in fields
                if not str(field.annotation).startswith("ClassVar")
            ]
            cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*made_with)))


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
    return given.get("default", f"{given['default_factory']}()" if "default_factory" in given else "...")
