"""The published schema accepts what is written, and refuses figures that are not what their kind says."""

import json
from typing import Any

import jsonschema
import pytest
import sample
import sample_evidence

from wieldy.core.records import Evidence
from wieldy.report.evidence import KINDS
from wieldy.report.schema import report_schema


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(report_schema())
    return jsonschema.Draft202012Validator(report_schema())


@pytest.mark.parametrize(
    "make", [sample.full_record, sample.mixed_record, sample.minimal_record, sample.other_record]
)
def test_records_are_valid(schema: jsonschema.Draft202012Validator, make: Any) -> None:
    found = json.loads(make().to_json())
    assert [error.message for error in schema.iter_errors(found)] == []


@pytest.mark.parametrize("kind", sorted(sample_evidence.MEASURED))
def test_figures_must_be_those_of_their_kind(schema: jsonschema.Draft202012Validator, kind: str) -> None:
    record = json.loads(sample.full_record(evidence=(sample_evidence.measured(kind),)).to_json())
    assert schema.is_valid(record)
    numbers = record["evidence"][0]["numbers"]
    numbers.pop(next(iter(numbers)))
    assert not schema.is_valid(record)


def test_a_kind_that_nobody_knows_may_hold_anything(schema: jsonschema.Draft202012Validator) -> None:
    odd = Evidence(kind="watermark", claim="", verdict="unknown", numbers={"keys": [1, {"a": None}]})
    assert schema.is_valid(json.loads(sample.full_record(evidence=(odd,)).to_json()))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_measured_is_valid_with_its_reason(
    schema: jsonschema.Draft202012Validator, kind: str
) -> None:
    gone = Evidence.not_measured(kind, "it holds", "nobody asked")
    assert schema.is_valid(json.loads(sample.full_record(evidence=(gone,)).to_json()))


def test_unknown_fields_are_refused(schema: jsonschema.Draft202012Validator) -> None:
    record = json.loads(sample.minimal_record().to_json())
    assert schema.is_valid(record)
    assert not schema.is_valid(record | {"surprise": 1})
    assert not schema.is_valid(record | {"verdict": "maybe"})
