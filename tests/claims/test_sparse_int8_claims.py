"""The claims on zeros in eight bits tell exact kernels from such as round otherwise or saturate."""

import numpy as np
import pytest
from kernel_cases import needs_kernels

from wieldy.claims import sparse_int8 as claims
from wieldy.kernels.native import level_variants
from wieldy.kernels.region.ops import LevelConv
from wieldy.kernels.sparse_int8.reference import sums

pytestmark = needs_kernels
SHAPES = 60


def away_from_zero(
    x: claims.Bytes, op: LevelConv, residual: claims.Answer | None, variant: str
) -> claims.Answer:
    """A fake: halves go away from zero, as many programs round."""
    if residual is not None or op.numbers:
        return claims.compiled(x, op, residual, variant)
    y = sums(x, op).astype(np.float32) * op.scale[:, None, None]
    held = np.clip(y, np.float32(op.low), np.float32(op.high))
    return (np.trunc(held + np.copysign(0.5, held)).astype(np.int32) + op.zero).astype(np.uint8)


def in_sixteen_bits(
    x: claims.Bytes, op: LevelConv, residual: claims.Answer | None, variant: str
) -> claims.Answer:
    """A fake: sums end where sixteen bits do."""
    found = claims.compiled(x, op, residual, variant)
    return np.where(np.abs(sums(x, op)) > 2**15, np.zeros_like(found), found)


@pytest.mark.parametrize("fake", [away_from_zero, in_sixteen_bits])
def test_a_kernel_that_rounds_otherwise_or_saturates_is_refuted(fake: claims.Kernel) -> None:
    assert claims.equality("portable", SHAPES, fake)[0].verdict == "refuted"


@pytest.mark.parametrize("variant", level_variants())
def test_every_variant_is_proved_by_the_same_claims(variant: str) -> None:
    assert [claim.verdict for claim in claims.equality(variant, SHAPES)] == ["proved", "proved"]


def test_blocks_take_a_twentieth_of_the_bytes_and_requests_at_once_answer_alike() -> None:
    assert claims.stored().verdict == "proved"
    assert claims.together().verdict == "proved"
