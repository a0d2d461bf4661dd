"""The published schema accepts what the reader accepts, and refuses what it refuses."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from wieldy.flow.schema import recipe_schema

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
GOOD: dict[str, Any] = {"model": "net.py:make", "data": "mnist", "budget": {"latency": "50%"}}


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(recipe_schema())
    return jsonschema.Draft202012Validator(recipe_schema())


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_valid(schema: jsonschema.Draft202012Validator, path: Path) -> None:
    recipe = yaml.safe_load(path.read_text())
    if "recipe" in recipe:  # a sweep's file
        pytest.skip("it names a recipe and is none")
    assert not [error.message for error in schema.iter_errors(recipe)]


@pytest.mark.parametrize(
    "change",
    [
        {"sede": 1},
        {"seed": -1},
        {"budget": {"latency": "50"}},
        {"budget": {"macs": 0.4}},
        {"budget": {"bytes": "1.5MB"}},
        {"budget": {"latncy": "50%"}},
        {"method": {"name": "magnitud"}},
        {"method": {"name": "zeros", "sparsity": 2}},
        {"method": {"sparsity": 0.5}},
        {"recovery": {"fit": {"epoch": 3}}},
        {"plan": {"kinds": ["chanels"]}},
        {"quantize": {"keep": "fc"}},
    ],
    ids=str,
)
def test_what_the_reader_refuses_is_refused(
    schema: jsonschema.Draft202012Validator, change: dict[str, Any]
) -> None:
    assert schema.is_valid(GOOD)
    assert not schema.is_valid(GOOD | change)
