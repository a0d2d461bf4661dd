import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from wieldy.core.config import Frozen
from wieldy.core.errors import ConfigError
from wieldy.core.records import Claim, Interval


class Inner(Frozen):
    share: float = Field(default=0.5, ge=0, le=1)


class Outer(Frozen):
    name: str
    sizes: tuple[int, ...] = ()
    inner: Inner = Inner()


def test_an_unknown_field_is_named():
    with pytest.raises(ConfigError, match=r"Outer: colour: .*'red'"):
        Outer(name="a", colour="red")


def test_a_missing_field_is_named():
    with pytest.raises(ConfigError, match="name: field required"):
        Outer()


def test_several_faults_are_told_at_once():
    with pytest.raises(ConfigError, match=r"name: .* \| sizes.0: "):
        Outer(name=3, sizes=("a",))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.01, -0.01, "much"])
def test_a_value_outside_its_range_is_refused_and_shown(value):
    with pytest.raises(ConfigError, match=f"share: .*{value}"):
        Inner(share=value)


def test_a_bad_default_is_refused_too():
    class Wrong(Frozen):
        share: float = Field(default=2.0, le=1)

    with pytest.raises(ConfigError, match="share"):
        Wrong()


def test_a_nested_fault_is_a_config_error():
    with pytest.raises(ConfigError, match="share"):
        Outer(name="a", inner={"share": 7})


def test_a_value_cannot_be_altered():
    config = Outer(name="a")
    with pytest.raises(ValueError, match="frozen"):
        config.name = "b"


@settings(max_examples=40)
@given(st.text(), st.lists(st.integers(-(2**63), 2**63)), st.floats(0, 1))
def test_json_gives_the_same_value_back(name, sizes, share):
    config = Outer(name=name, sizes=tuple(sizes), inner=Inner(share=share))
    assert Outer.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '{"name": 3}', '{"name": "a", "more": 1}', "\ud800"]
)
def test_what_is_not_its_json_is_a_config_error(text):
    data = text.encode("utf-8", "surrogatepass")
    with pytest.raises(ConfigError):
        Outer.from_json(data)


def test_records_hold_no_nan():
    with pytest.raises(ConfigError, match="low"):
        Interval(value=1.0, low=math.nan, high=2.0)


def test_a_claim_that_comes_out_differently_is_a_change():
    fields = {"name": "a", "what": "b", "relation": "<", "threshold": 1.0, "source": "c", "seconds": 0.0}
    held, broken = Claim(measured=0.5, **fields), Claim(measured=1.0, **fields)
    assert (held.verdict, held.changed) == ("proved", False)
    assert (broken.verdict, broken.changed) == ("refuted", True)
    assert json.loads(held.to_json())["measured"] == 0.5
