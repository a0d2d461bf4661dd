"""Low rank: the best of its rank, two layers that compute the product, a weighting that helps outputs."""

import networks
import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wieldy.compress.load import load
from wieldy.core.errors import ConfigError
from wieldy.core.records import Change, Refused
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import WEIGHTED
from wieldy.graph.trace import trace
from wieldy.methods.factor.svd import (
    SvdConfig,
    apply,
    factored,
    low_rank,
    output_error,
    product,
    rank_for_share,
)
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.stats.collect import Stats
from wieldy.stats.moments import SecondMoment, collect_moments

Matrix = np.ndarray


def matrix(rows: int, columns: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def moment(width: int, seed: int = 1) -> Matrix:
    """Of inputs that vary a thousand times as much in some directions as in others."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4 * width, width)) * np.logspace(0, -3, width) @ rng.normal(size=(width, width))
    return rows.T @ rows / len(rows)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), rank=st.integers(1, 12), seed=st.integers(0, 99))
def test_reference_the_error_is_that_of_the_singular_values_left_out(
    rows: int, columns: int, rank: int, seed: int
) -> None:
    weight = matrix(rows, columns, seed)
    factors = low_rank(weight, rank)
    lost = np.linalg.norm(weight - factors.left @ factors.right)
    assert lost == pytest.approx(np.linalg.norm(np.linalg.svd(weight)[1][rank:]), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(rank=st.integers(1, 8), seed=st.integers(0, 99), other=st.integers(0, 99))
def test_no_factors_of_a_rank_lose_less_of_the_outputs_than_the_weighted_ones(
    rank: int, seed: int, other: int
) -> None:
    weight, of_inputs = matrix(9, 8, seed), moment(8, seed + 1)
    best = output_error(weight, low_rank(weight, rank, of_inputs), of_inputs)
    plain = low_rank(weight, rank)
    assert best <= output_error(weight, plain, of_inputs) * (1 + 1e-4) + 1e-6
    nudged = type(plain)(plain.left + 0.1 * matrix(9, min(rank, 8), other), plain.right)
    assert best <= output_error(weight, nudged, of_inputs) * (1 + 1e-4) + 1e-6


def test_inputs_that_never_vary_do_no_harm() -> None:
    weight, of_inputs = matrix(6, 5), np.diag([1.0, 2.0, 0.0, 0.0, 1.0])
    factors = low_rank(weight, 3, of_inputs)
    assert np.isfinite(factors.left).all()
    assert np.isfinite(factors.right).all()
    assert output_error(weight, factors, of_inputs) < 1e-5  # three inputs that vary, rank three


@given(rows=st.integers(1, 500), columns=st.integers(1, 500), share=st.floats(0.05, 0.95))
def test_the_rank_of_a_share_is_the_largest_that_fits(rows: int, columns: int, share: float) -> None:
    rank = rank_for_share(rows, columns, share)
    assert rank == 1 or rank * (rows + columns) <= share * rows * columns
    assert (rank + 1) * (rows + columns) > share * rows * columns * (1 - 1e-12)


LAYERS = {
    "linear": (lambda: nn.Linear(24, 20), (24,)),
    "linear on a sequence": (lambda: nn.Linear(24, 20, bias=False), (5, 24)),
    "conv": (lambda: nn.Conv2d(12, 16, 3, padding=1), (12, 9, 8)),
    "conv strided and dilated": (lambda: nn.Conv2d(12, 16, 3, (2, 1), (1, 2), (2, 1)), (12, 11, 9)),
    "conv1d": (lambda: nn.Conv1d(12, 16, 5, padding=2), (12, 19)),
    "conv1d strided and dilated": (lambda: nn.Conv1d(12, 16, 3, 2, 1, 2), (12, 19)),
    "conv of one": (lambda: nn.Conv2d(16, 16, 1), (16, 5, 5)),
}


def split(name: str, config: SvdConfig) -> tuple[nn.Module, torch.Tensor, GraphNetwork, Change]:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    model, x = nn.Sequential(make()).eval(), torch.randn(16, *shape)
    network = trace(model, x)
    stats = Stats(moments=collect_moments(network, [(x.numpy(),)], ["0"]) if config.weighted else {})
    (record,) = apply(network, ["0"], stats, config)
    assert isinstance(record, Change)
    return model, x, network, record


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("form", ["channel", "spatial", "weighted"])
def test_two_layers_compute_what_the_recomposed_weight_does(name: str, form: str, tmp_path) -> None:
    if form == "spatial" and name not in ("conv", "conv strided and dilated"):
        pytest.skip("no kernel to take apart")
    config = SvdConfig(
        share=0.6, form="spatial" if form == "spatial" else "channel", weighted=form == "weighted",
        max_loss=1,
    )  # fmt: skip
    model, x, network, record = split(name, config)
    layer, (one, two) = model[0], (network.tensor(f"0.{part}.weight") for part in ("first", "second"))
    if one.ndim == 2:
        whole = two @ one
    elif form == "spatial":
        whole = torch.einsum("rih,ork->oihk", one[..., 0], two[:, :, 0])
    else:
        whole = torch.einsum("ri...,or->oi...", one, two.reshape(len(two), -1))
    with torch.no_grad():
        layer.weight.copy_(whole)
    assert networks.relative_error(network(x), model(x)) < 1e-5
    assert record.after["numbers"] == one.numel() + two.numel() < record.before["numbers"] == whole.numel()
    path = save(network, tmp_path / "small.wieldy")
    assert networks.relative_error(open_package(path, threads=1)(x.numpy()), model(x)) < 1e-4
    assert torch.equal(load(path)(x), network(x))


def test_a_network_split_at_full_rank_computes_what_it_did() -> None:
    """Rank as large as it may be while it saves a number, on a weight that has no more."""
    model = nn.Sequential(nn.Linear(20, 20)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(matrix(20, 4) @ matrix(4, 20)).float())
    x = torch.randn(8, 20)
    network = trace(model, x)
    list(apply(network, ["0"], Stats(), SvdConfig(rank=4, weighted=False)))
    assert networks.relative_error(network(x), model(x)) < 1e-5


def test_shapes_of_the_factors() -> None:
    weight = matrix(16, 12 * 9).reshape(16, 12, 3, 3).astype(np.float32)
    channel = factored(weight, SvdConfig(rank=5, weighted=False))
    assert [part.shape for part in channel] == [(5, 12, 3, 3), (16, 5, 1, 1)]
    spatial = factored(weight, SvdConfig(rank=5, weighted=False, form="spatial"))
    assert [part.shape for part in spatial] == [(5, 12, 3, 1), (16, 5, 1, 3)]


def test_weighted_beats_plain_on_the_outputs_of_every_layer() -> None:
    network = tiny.traced()
    x = tiny.digits().train.inputs[:200]
    layers = ["conv2", "conv3", "fc"]
    moments = collect_moments(network, [(x,)], layers)
    for layer in layers:
        weight = network.tensor(f"{layer}.weight").detach().double().numpy()
        flat, of_inputs = weight.reshape(len(weight), -1), moments[layer].mean
        for rank in (2, 5):
            plain, best = low_rank(flat, rank), low_rank(flat, rank, of_inputs)
            assert output_error(flat, best, of_inputs) < output_error(flat, plain, of_inputs)


def test_the_moments_are_those_of_the_patches() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 4, 2, 2)).eval(), torch.randn(6, 3, 6, 6)
    found = collect_moments(trace(model, x), [(x[:2].numpy(),), (x[2:].numpy(),)], ["0"])["0"].mean
    weight = model[0].weight.detach().double().numpy().reshape(4, -1)
    with torch.no_grad():
        y = (model(x) - model[0].bias[:, None, None]).double().numpy()
    wanted = np.mean([np.outer(v, v) for v in y.transpose(0, 2, 3, 1).reshape(-1, 4)], axis=0)
    np.testing.assert_allclose(weight @ found @ weight.T, wanted, rtol=1e-4, atol=1e-6)
    assert SecondMoment(3).mean.tolist() == np.zeros((3, 3)).tolist()


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.grouped, self.line = nn.Conv2d(4, 4, 3, groups=2), nn.Conv1d(4, 4, 1)
        self.twice, self.small = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.line(self.grouped(x).flatten(2)).mean(2)
        return self.small(self.twice(self.twice(y)))


def test_rejects_with_the_reason() -> None:
    network = trace(Odd().eval(), torch.zeros(1, 4, 6, 6))
    layers = [node.layer for node in network.program.nodes if node.op in WEIGHTED]
    records = apply(network, list(dict.fromkeys(layers)), Stats(), SvdConfig(weighted=False, rank=2))
    reasons = {record.layer: record.reason for record in records if isinstance(record, Refused)}
    assert "in groups already" in reasons["grouped"]
    (record,) = apply(network, ["norm of none"], Stats(), SvdConfig(weighted=False))
    assert isinstance(record, Refused)
    assert "no linear layer" in record.reason
    assert "serves several layers" in reasons["twice"]
    assert "would have 12 numbers, and it has 8" in reasons["small"]
    with pytest.raises(ConfigError, match="only the channel form"):
        SvdConfig(form="spatial")
    with pytest.raises(ConfigError, match="needs the second moments of what 'small'"):
        list(apply(network, ["small"], Stats(), SvdConfig(rank=1)))


@pytest.mark.parametrize("form", ["channel", "spatial"])
@pytest.mark.parametrize("shape", [(7, 5, 3, 3), (7, 5, 3, 1), (4, 6, 1, 5), (6, 9)])
def test_the_product_of_both_layers_is_the_weight_at_full_rank(form: str, shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    config = SvdConfig(rank=99, weighted=False, form=form)
    assert np.allclose(product(*factored(weight, config)), weight.reshape(len(weight), -1), atol=1e-5)


def test_a_layer_that_would_lose_too_much_of_its_outputs_stays_as_it_is() -> None:
    network = tiny.traced(16)
    layers = network.program.weighted_layers()
    moments = collect_moments(
        network, [(np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype("f4"),)], layers
    )
    lost: dict[str, float] = {}
    for weighted in (True, False):
        for bound in (0.01, 0.3, 1.0):
            small = trace(tiny.net(16), torch.zeros(1, 1, 8, 8))
            config = SvdConfig(share=0.4, weighted=weighted, max_loss=bound)
            before = small.arrays()
            for record in apply(small, layers, Stats(moments=moments), config):
                if isinstance(record, Refused) and "max_loss" in record.reason:
                    assert f"max_loss is {bound:.1%}" in record.reason
                    assert bound < 1
                elif isinstance(record, Change):
                    first, second = (
                        small.arrays()[f"{record.layer}.{part}.weight"] for part in ("first", "second")
                    )
                    weight = before[f"{record.layer}.weight"]
                    wide = weight.reshape(len(weight), -1).astype(float)
                    apart = wide - product(first, second)
                    mean = moments[record.layer].mean
                    lost[record.layer] = np.sum(apart @ mean * apart) / np.sum(wide @ mean * wide)
                    assert lost[record.layer] <= bound * (1 + 1e-6)
    assert lost
