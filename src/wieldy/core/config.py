"""Frozen, keyword-only values that are checked at birth and read from JSON as they are written."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from wieldy.core.errors import ConfigError


class Frozen(BaseModel):
    """Base of configs and records: immutable, no unknown fields, JSON both ways.

    Raises:
        ConfigError: a field is unknown, missing or outside its range.

    Example:
        >>> class Cut(Frozen):
        ...     fraction: float = 0.5
        >>> Cut.from_json(Cut(fraction=0.25).to_json())
        Cut(fraction=0.25)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            key = tuple(str(part) for part in error.errors(include_url=False)[0]["loc"])
            raise ConfigError(describe(error, type(self).__name__), key) from None

    def to_json(self) -> str:
        """Return the one canonical JSON text of this value."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote; raises ConfigError for anything else."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError(describe(error, cls.__name__)) from None


def describe(error: ValidationError, name: str) -> str:
    """Put pydantic's findings into one line: field, rule and the value that broke it."""
    found = []
    for item in error.errors(include_url=False):
        where = ".".join(str(part) for part in item["loc"]) or "value"
        value = "" if item["type"] == "missing" else f"; got {item['input']!r:.80}"
        found.append(f"{where}: {item['msg'].lower()}{value}")
    return f"{name}: " + " | ".join(found)
