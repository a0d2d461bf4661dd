"""The record of a run as JSON Schema: what `record.json` holds, with the figures of every kind."""

from typing import Any

from wieldy.core.records import RunRecord
from wieldy.report.evidence import KINDS

DRAFT = "https://json-schema.org/draft/2020-12/schema"
REASON = {"type": "object", "properties": {"reason": {"type": "string"}}, "required": ["reason"]}


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema of a record; evidence of an unknown kind may hold any figures.

    Example:
        >>> sorted(report_schema()["$defs"]["Evidence"]["required"])
        ['claim', 'kind', 'verdict']
    """
    whole = RunRecord.model_json_schema(ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = whole.pop("$defs")
    rules = []
    for kind, numbers in KINDS.items():
        schema = numbers.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= schema.pop("$defs", {})
        definitions[numbers.__name__] = schema
        figures = {
            "anyOf": [{"$ref": f"#/$defs/{numbers.__name__}"}, REASON | {"additionalProperties": False}]
        }
        rules.append(
            {
                "if": {"properties": {"kind": {"const": kind}}},
                "then": {"properties": {"numbers": figures}},
            }
        )
    definitions["Evidence"]["allOf"] = rules
    return {"$schema": DRAFT, "$id": "report.schema.json"} | whole | {"$defs": definitions}
