"""The claims on blocks of one magnitude tell the method from what only looks like it."""

from functools import cache

import pytest
import torch

from wieldy.claims import unify as claims
from wieldy.core.records import Claim
from wieldy.graph.network import need_traced
from wieldy.methods.contract import Hook, Step
from wieldy.methods.share.unify import (
    Unify,
    UnifyConfig,
    as_blocks,
    packing,
    prune_costs,
    select,
    with_blocks,
)
from wieldy.zoo.networks.lenet import Lenet300


class ByMagnitude(Unify):
    """A fake: trains freely, and sets the smallest blocks to zero where others would get one magnitude."""

    def after_backward(self, step: Step) -> None:
        """No pull."""

    @torch.no_grad()
    def finish(self, network: torch.nn.Module) -> None:
        traced = need_traced(network, "ByMagnitude")
        share = 1 - (1 - self.config.pruned) * (1 - self.config.unified)
        for pull in self._pulls.values():
            weight = traced.tensor(pull.tensor)
            blocks = as_blocks(weight, self.config.block)
            goes = prune_costs(blocks).argsort()[: round(share * len(blocks))]
            blocks[goes] = 0
            weight.copy_(with_blocks(weight, blocks, self.config.block))

    def settling(self) -> Hook:  # type: ignore[override]
        return Hook()


@cache
def run(fake: bool) -> claims.Led:
    return claims.led(Lenet300, 0, ByMagnitude if fake else Unify)


def verdicts(found: list[Claim]) -> list[str]:
    return [claim.verdict for claim in found]


def test_a_fake_that_prunes_by_magnitude_is_refuted() -> None:
    assert verdicts(claims.leading([run(fake=True)])) == ["refuted", "refuted", "refuted", "refuted"]
    assert verdicts(claims.keeping([run(fake=True)])) == ["refuted", "refuted"]


def test_the_method_is_proved_by_the_same_claims() -> None:
    assert verdicts(claims.leading([run(fake=False)])) == ["proved"] * 4
    assert verdicts(claims.keeping([run(fake=False)])) == ["proved"] * 2
    assert verdicts(claims.packed([run(fake=False)])) == ["proved"] * 2


@pytest.mark.parametrize(
    "fake",
    [
        torch.zeros_like,
        lambda blocks: torch.sign(blocks) * blocks.abs().mean(dim=1, keepdim=True),  # of zero: zero
        lambda blocks: blocks.abs().amax(dim=1, keepdim=True) * torch.where(blocks < 0, -1.0, 1.0),
        lambda blocks: blocks.abs().mean(dim=1, keepdim=True).expand_as(blocks),
    ],
    ids=["zeros", "sign of zero is zero", "largest magnitude", "signs lost"],
)
def test_a_projection_that_is_not_the_nearest_is_refuted(fake) -> None:  # type: ignore[no-untyped-def]
    assert "refuted" in verdicts(claims.projection(fake))


def test_the_nearest_projection_is_proved() -> None:
    assert verdicts(claims.projection()) == ["proved", "proved"]


def test_the_byte_formula_knows_nothing_of_the_format_and_agrees_with_it() -> None:
    weight = torch.randn(13, 21, generator=torch.Generator().manual_seed(0))
    blocks = as_blocks(weight, (4, 4))
    blocks[:5] = 0
    blocks[5:10] = blocks[5:10, :1].abs() * torch.where(blocks[5:10] < 0, -1.0, 1.0)
    weight = with_blocks(weight, blocks, (4, 4))
    assert claims.byte_formula(weight) == packing((4, 4)).byte_count(weight.numpy())


def test_settings_of_the_claims_are_the_defaults() -> None:
    assert UnifyConfig() == claims.CONFIG
    assert (select(torch.rand(40, 16), 0.5, 0.9) == 1).sum() == 18
