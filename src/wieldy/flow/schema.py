"""Recipes as JSON Schema, so that editors complete and check them."""

from typing import Any

from wieldy.core.config import Frozen
from wieldy.flow.recipe import Recipe
from wieldy.flow.state import Planning, Recovery
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.methods.registry import METHODS
from wieldy.plan.budget import LATENCY, SHARE, Budget
from wieldy.train.fit import FitConfig

DRAFT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def recipe_schema() -> Schema:
    """Return the JSON Schema of a recipe, with the settings of every part and every method.

    Example:
        >>> sorted(recipe_schema()["required"])
        ['budget', 'data', 'model']
    """
    definitions: Schema = {}
    whole = _of(Recipe, definitions)
    parts = whole["properties"]
    budget = _of(Budget, definitions)
    share = {"type": "string", "pattern": f"^{SHARE}$"}
    budget["properties"] |= {"latency": {"type": "string", "pattern": f"^{LATENCY}$"}, "macs": share}
    budget["properties"]["bytes"]["anyOf"].append(share)
    recovery = _of(Recovery, definitions)
    recovery["properties"]["fit"] = _of(FitConfig, definitions)
    parts["budget"], parts["recovery"] = budget, recovery
    parts["method"] = {"oneOf": [_method(kind, method.name, definitions) for kind, method in METHODS.items()]}
    parts["quantize"] = {"anyOf": [{"type": "boolean"}, _of(IntegerConfig, definitions)]}
    parts["plan"] = {"anyOf": [{"type": "boolean"}, _of(Planning, definitions)]}
    return {"$schema": DRAFT, "$id": "recipe.schema.json"} | whole | {"$defs": definitions}


def _of(kind: type[Frozen], definitions: Schema) -> Schema:
    """Return the schema of a config; what it shares with others goes to `definitions`."""
    schema = kind.model_json_schema()
    definitions |= schema.pop("$defs", {})
    schema.pop("description", None)
    schema["additionalProperties"] = False
    return schema


def _method(kind: type[Frozen], name: str, definitions: Schema) -> Schema:
    """Return the schema of a method's settings with the name by which it is chosen."""
    schema = _of(kind, definitions)
    schema["properties"] = {"name": {"const": name}} | schema.get("properties", {})
    return schema | {"required": ["name"]}
