"""Encoders of the transformers library are traced as they are, masks and all."""

import copy
from functools import cache
from pathlib import Path

import networks
import pytest
import torch
import wild
from torch import Tensor, nn

from wieldy.compress.load import load
from wieldy.compress.quantize import quantize
from wieldy.core.errors import TraceError
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.removal import remove_units
from wieldy.graph.trace import trace
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package

LENGTH = 10


@cache
def traced() -> tuple[nn.Module, tuple[Tensor, Tensor], GraphNetwork]:
    """A small BERT with random weights, its inputs and its trace."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=16,
    )  # fmt: skip
    model = wild.Sentence(transformers.BertModel(config, add_pooling_layer=False)).eval()
    mask = (torch.arange(LENGTH) < torch.tensor([[10], [4], [7]])).long()
    words = torch.randint(1, 100, (3, LENGTH)) * mask
    return model, (words, mask), trace(model, (words, mask))


def test_an_encoder_is_traced_without_hints_and_computes_the_same(tmp_path: Path) -> None:
    model, inputs, network = traced()
    assert torch.equal(network(*inputs), model(*inputs))
    path = save(network, tmp_path / "bert.wieldy")
    for batch in (1, 3):
        given = [value[:batch] for value in inputs]
        found = open_package(path, threads=1)(*(value.numpy() for value in given))
        assert networks.relative_error(found, model(*given)) < 1e-4
        assert torch.equal(load(path)(*given), network(*given))


def test_heads_and_feed_forward_units_are_groups_and_nothing_else_is() -> None:
    _, _, network = traced()
    sizes = [(group.name.split(".")[-1], group.size) for group in couple(network.program).groups]
    assert sizes == [("query", 4), ("dense", 48)] * 2


def test_removing_equals_masking_and_what_is_left_is_opened(tmp_path: Path) -> None:
    _, inputs, network = traced()
    coupling = couple(network.program)
    units = {group.name: list(range(group.size // 3)) for group in coupling.groups}
    small, masked = copy.deepcopy(network), copy.deepcopy(network)
    small.replace_program(*remove_units(network.program, coupling, units))
    for group in coupling.groups:
        for (tensor, axis), indices in group.members.items():
            gone = torch.tensor([index for unit in units[group.name] for index in indices[unit]])
            masked.tensor(tensor).detach().index_fill_(axis, gone, 0.0)
    assert networks.relative_error(small(*inputs), masked(*inputs)) < 1e-5
    path = save(small, tmp_path / "small.wieldy")
    found = open_package(path, threads=1)(*(value.numpy() for value in inputs))
    assert networks.relative_error(found, small(*inputs)) < 1e-4


def test_an_encoder_in_eight_bits_says_nearly_the_same(tmp_path: Path) -> None:
    model, inputs, network = traced()
    small, _ = quantize(network, [tuple(value.numpy() for value in inputs)])
    path = save(small, tmp_path / "int8.wieldy", formats=small.formats)
    found = open_package(path, threads=1)(*(value.numpy() for value in inputs))
    cosine = (found * model(*inputs).detach().numpy()).sum(axis=1)
    assert (cosine > 0.99).all()


class Lookup(nn.Module):
    def __init__(self, index: list[int]) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        return x[torch.arange(x.shape[0])[:, None], torch.tensor(self.index)[None]]


def test_a_lookup_of_everything_in_its_place_adds_nothing_and_any_other_is_refused() -> None:
    x = torch.randn(3, 4)
    network = trace(Lookup([0, 1, 2, 3]), x)
    assert [node.op for node in network.program.nodes] == ["aten.reshape.default"]
    assert torch.equal(network(x), x)
    with pytest.raises(TraceError, match="looks numbers up by index"):
        trace(Lookup([1, 0, 2, 3]), x)
