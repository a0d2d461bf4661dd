"""The claims on attacks tell gradients that lead uphill from others, and twins from other networks."""

from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from wieldy.assure.attack.search import Effort
from wieldy.assure.attack.twin import Seen, Twin, twin_of
from wieldy.assure.pixels import Pixels
from wieldy.claims import attacks as claims
from wieldy.core.data import Data
from wieldy.core.records import Claim
from wieldy.package.read import Package
from wieldy.package.save import save

SCALE = claims.Scale(pictures=150, attacked=60, alone=150, effort=Effort(pgd=8, apgd=4), radii=(0.04, 0.12))
AGREE, PGD, APGD, NOISE, LIMIT, ALONE, RADIUS = range(7)


def measured(tmp_path: Path, make: claims.Make = twin_of) -> list[Claim]:
    few = tiny.digits()
    data = Data(few.train, few.validate, few.test, normalisation=((0.5,), (0.5,)))
    return claims.on_network("digits", save(tiny.trained(), tmp_path / "net.wieldy"), data, SCALE, make)


def refuted(found: list[Claim]) -> set[int]:
    return {place for place, claim in enumerate(found) if claim.verdict == "refuted"}


def test_a_twin_proves_them(tmp_path: Path) -> None:
    found = measured(tmp_path)
    assert [claim.verdict for claim in found] == ["proved"] * 7
    assert found[AGREE].measured == 1
    assert found[LIMIT].measured == 0


def test_a_gradient_that_leads_downhill_is_refuted(tmp_path: Path) -> None:
    class Backwards(Twin):
        def slope(self, pixels: Tensor, labels: Tensor) -> tuple[Seen, Tensor]:
            seen, signs = super().slope(pixels, labels)
            return seen, -signs

    found = measured(tmp_path, lambda package, of: Backwards(twin_of(package, of).network, of))
    assert refuted(found) == {NOISE, LIMIT, RADIUS}


def test_a_gradient_of_nothing_is_refuted(tmp_path: Path) -> None:
    class Flat(Twin):
        def slope(self, pixels: Tensor, labels: Tensor) -> tuple[Seen, Tensor]:
            return self.seen(pixels, labels), torch.zeros_like(pixels)

    found = measured(tmp_path, lambda package, of: Flat(twin_of(package, of).network, of))
    assert refuted(found) >= {NOISE, LIMIT, ALONE}


def test_a_twin_of_another_network_is_refuted(tmp_path: Path) -> None:
    def other(package: Package, of: Pixels) -> Twin:
        return Twin(tiny.traced(), of)

    assert AGREE in refuted(measured(tmp_path, other))


@pytest.mark.parametrize("scale", [claims.QUICK, claims.FULL])
def test_what_is_attacked_is_among_what_is_compared(scale: claims.Scale) -> None:
    assert scale.attacked <= scale.pictures
    assert scale.alone <= scale.pictures
    assert len(scale.radii) == 2 >= scale.deep
