"""The claims on bounds hold, and one wrong sign in a relaxation turns them red."""

import numpy as np
import pytest

from wieldy.assure.bounds.relaxed import Relax, relax
from wieldy.claims import bounds as claims
from wieldy.claims.bounds import WRONG, drawn, exactness, outside, soundness, tried, widths, wrong_signs
from wieldy.core.records import Claim


def red(found: list[Claim]) -> list[str]:
    return [claim.what for claim in found if claim.changed]


def all_but_signs(lines: Relax, samples: int = 300) -> list[Claim]:
    cases = [tried(drawn(number), samples, number, lines) for number in range(7)]
    return [*soundness(cases), *widths(cases), *exactness(lines)]


def test_the_bounds_change_no_verdict() -> None:
    assert red(all_but_signs(relax)) == []


@pytest.mark.parametrize("name", WRONG)
def test_one_wrong_sign_turns_the_claims_red(name: str) -> None:
    found = red(all_but_signs(WRONG[name]))
    assert any(what.startswith(("values outside", "exact extremes")) for what in found)


def test_every_wrong_sign_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not wrong_signs().changed
    monkeypatch.setattr(claims, "WRONG", {"none": relax, **WRONG})
    assert wrong_signs().changed


def test_what_lies_on_a_bound_is_inside_and_the_next_number_is_not() -> None:
    low, high = np.array([0.0, -1.0]), np.array([1.0, 1.0])
    assert outside(np.array([low, high]), low, high) == 0
    assert outside(np.array([np.nextafter(low, -2), np.nextafter(high, 2)]), low, high) == 4
    assert outside(np.full((1, 2), np.nan), low, high) == 2
