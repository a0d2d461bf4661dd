"""SSL: the proximal step, what a group is, what dies with it, and what a network keeps."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.compress.compact import compact
from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.graph.bundles import Bundle, Member
from wieldy.graph.folded import Folded, norms_behind
from wieldy.graph.kept import kept, kept_convolution
from wieldy.graph.network import GraphNetwork
from wieldy.graph.structures import norms
from wieldy.graph.trace import trace
from wieldy.methods.contract import Step
from wieldy.methods.prune.ssl import CUT, Ssl, SslConfig, dykstra, groups_of, prox
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.train.fit import FitConfig, fit
from wieldy.zoo.networks.residual import Residual28

SHORT = FitConfig(epochs=2, batch_size=32, learning_rate=0.05, warmup=0)
EVERY = ("filters", "channels", "filters+channels", "columns", "depth")


def step(network: nn.Module, rate: float = 0.1) -> Step:
    return Step(network, torch.zeros(1), torch.zeros(1), torch.zeros(1), 0, 1, rate)


def shrunk_once(
    network: GraphNetwork, config: SslConfig, rate: float, layers: tuple[str, ...] | None = None
) -> Ssl:
    hook = Ssl(config, layers)
    hook.attach(network)
    hook.after_step(step(network, rate))
    hook.finish(network)
    return hook


def weight(network: GraphNetwork, layer: str) -> Tensor:
    return network.tensor(f"{layer}.weight").detach()


def residual() -> GraphNetwork:
    torch.manual_seed(0)
    model = Residual28((4, 6, 8))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return trace(model.eval(), torch.zeros(1, 1, 28, 28))


def matrix_bundles(rows: int, columns: int) -> tuple[list[Bundle], list[Bundle]]:
    filters = Bundle(("w",), (Member("w", "filters", 1, torch.arange(rows)),), rows)
    channels = Bundle(("w",), (Member("w", "channels", 1, torch.arange(columns)),), columns)
    return [filters], [channels]


def overlapping(values: Tensor, threshold: float) -> Tensor:
    return dykstra({"w": values}, *matrix_bundles(*values.shape), threshold)["w"]


def test_reference_by_hand_filters_shrink_by_the_threshold_with_their_bias() -> None:
    network = trace(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), torch.zeros(1, 2))
    with torch.no_grad():
        network.tensor("0.weight").copy_(torch.tensor([[3.0, 0.0], [0.2, 0.1], [2.0, 2.0]]))
        network.tensor("0.bias").copy_(torch.tensor([4.0, -0.2, 1.0]))
    hook = shrunk_once(network, SslConfig(penalty=5.0), 0.1)  # 0.5 off each norm: 5, 0.3, 3
    expected = torch.tensor([[2.7, 0.0], [0.0, 0.0], [10 / 6, 10 / 6]])
    torch.testing.assert_close(weight(network, "0"), expected)
    torch.testing.assert_close(network.tensor("0.bias").detach(), torch.tensor([3.6, 0.0, 5 / 6]))
    change, refused = hook.records()
    assert isinstance(change, Change)
    assert change.before == {"weights": 6, "nonzero": 5, "groups": 3}
    assert change.after == {"weights": 6, "nonzero": 3, "groups": 3, "zero_groups": 1}
    assert isinstance(refused, Refused)
    assert (refused.layer, refused.reason) == ("2", "its channels are the network's outputs")


def test_reference_prox_against_a_minimiser() -> None:
    scipy = pytest.importorskip("scipy.optimize")
    generator = np.random.default_rng(0)
    start = generator.normal(size=(3, 4))

    def objective(flat: np.ndarray) -> float:
        v = flat.reshape(3, 4)
        groups = np.sqrt((v**2).sum(1)).sum() + np.sqrt((v**2).sum(0)).sum()
        return float(((v - start) ** 2).sum() / 2 + 0.3 * groups)

    found = overlapping(torch.from_numpy(start), 0.3).numpy()
    best = scipy.minimize(objective, found.ravel() + 1e-3, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(found, best.x.reshape(3, 4), atol=1e-4)
    assert objective(found.ravel()) <= best.fun + 1e-12


def by_consensus(x: Tensor, threshold: float, rounds: int = 400) -> Tensor:
    """The same minimum by the alternating direction method of multipliers, with a copy for each penalty."""
    filters, channels = matrix_bundles(*x.shape)
    v, copies, duals = x, [x, x], [x * 0, x * 0]
    for _ in range(rounds):
        v = (x + sum(copies) - sum(duals)) / 3
        copies = [
            prox({"w": v + dual}, kind, threshold)["w"]
            for kind, dual in zip((filters, channels), duals, strict=True)
        ]
        duals = [dual + v - copy for dual, copy in zip(duals, copies, strict=True)]
    return copies[0]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 9999), rows=st.integers(1, 6), columns=st.integers(1, 6), threshold=st.floats(0.01, 2)
)  # fmt: skip
def test_dykstra_finds_the_least_sum(seed: int, rows: int, columns: int, threshold: float) -> None:
    x = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    v = overlapping(x, threshold)
    for other in (by_consensus(x, threshold), x * 0, v + 1e-3 * torch.randn(v.shape, dtype=v.dtype)):
        assert _loss(x, v, threshold) <= _loss(x, other, threshold) + 1e-7
    row, column = norms(v, "filters"), norms(v, "channels")
    for r, c in itertools.product(range(rows), range(columns)):  # zeros come in rows and columns alone
        assert bool(v[r, c] != 0) == bool(row[r] > 0 and column[c] > 0)


def _loss(x: Tensor, v: Tensor, threshold: float) -> float:
    return float(
        (x - v).square().sum() / 2 + threshold * (norms(v, "filters").sum() + norms(v, "channels").sum())
    )


def test_one_step_after_the_other_is_not_the_step_of_the_sum() -> None:
    x = torch.tensor([[2.0, 1.0], [1.0, 0.7]], dtype=torch.float64)
    filters, channels = matrix_bundles(2, 2)
    turns = prox(prox({"w": x}, filters, 0.5), channels, 0.5)["w"]
    assert _loss(x, overlapping(x, 0.5), 0.5) < _loss(x, turns, 0.5) - 1e-5


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), threshold=st.floats(0, 3))
def test_prox_never_lengthens_and_is_the_nearest_point(seed: int, threshold: float) -> None:
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    filters, _ = matrix_bundles(5, 3)
    v = prox({"w": x}, filters, threshold)["w"]
    before, after = norms(x, "filters"), norms(v, "filters")
    torch.testing.assert_close(after, (before - threshold).clamp(min=0))
    y = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    moved = prox({"w": y}, filters, threshold)["w"]
    assert (v - moved).norm() <= (x - y).norm() + 1e-12


@pytest.mark.parametrize("structure", EVERY)
def test_the_step_is_the_proximal_one_of_the_folded_layers(structure: str) -> None:
    network = residual()
    config = SslConfig(structure=structure, penalty=1.0, tolerance=1e-9)
    groups = groups_of(network, config, None)
    old = {k: v for layer in groups.layers for k, v in layer.values(network).items()}
    hook = Ssl(config)
    hook.attach(network)
    hook.after_step(step(network, 0.3))
    new = {k: v for layer in groups.layers for k, v in layer.values(network).items()}
    wanted = hook._shrunk(old, 0.3)
    for name, value in new.items():
        if "bias" in name and structure in ("channels", "columns"):
            torch.testing.assert_close(value, old[name])
        else:
            torch.testing.assert_close(value, wanted[name], atol=1e-5, rtol=1e-4)
    assert any(not torch.equal(new[name], old[name]) for name in new)


@pytest.mark.parametrize("structure", ["filters", "channels", "filters+channels", "columns"])
def test_a_scale_that_the_norm_undoes_does_not_change_what_dies(structure: str) -> None:
    dead = []
    for scale in (1.0, 0.01):
        network = residual()
        for layer in ("stage1.0.conv1", "stage2.0.conv1"):  # what a norm divides out again
            norm = layer.replace("conv1", "bn1")
            with torch.no_grad():
                network.tensor(f"{layer}.weight").mul_(scale)
                network.tensor(f"{norm}.running_mean").mul_(scale)
                var = network.tensor(f"{norm}.running_var")
                var.copy_((var + 1e-5) * scale**2 - 1e-5)
        hook = shrunk_once(network, SslConfig(structure=structure, penalty=1.0), 0.6)
        dead.append([r.after["zero_groups"] for r in hook.records() if isinstance(r, Change)])
    assert dead[0] == dead[1]
    assert sum(dead[0]) > 0


def test_a_filter_dies_with_its_norm_and_bias_so_that_its_channel_is_zero() -> None:
    network = residual()
    with torch.no_grad():  # one channel of the stream is weak wherever it is made
        for norm in ("bn", "stage1.0.bn2", "stage1.1.bn2"):
            for name in ("weight", "bias", "running_mean"):
                network.tensor(f"{norm}.{name}")[2] *= 0.1
    hook = shrunk_once(network, SslConfig(penalty=1.0), 0.6)
    dead = 0
    for node in network.program.nodes:
        norm = norms_behind(network.program).get(node.name)
        if norm is not None:
            rows = weight(network, node.layer).flatten(1).abs().sum(1) == 0
            for name in ("weight", "bias"):
                assert (network.tensor(norm.inputs[name].name)[rows] == 0).all()
            dead += int(rows.sum())
    assert dead > 0
    small, _ = compact(network)
    x = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(small(x), network(x), atol=1e-5, rtol=1e-5)
    assert not [
        name for name in small.program.tensors if name.endswith("conv2.bias")
    ]  # nothing was left to fold
    widths = {layer: len(weight(small, layer)) for layer in ("stem", "stage1.0.conv2", "stage1.1.conv2")}
    assert len(set(widths.values())) == 1
    stream = [r.after["zero_groups"] for r in hook.records() if r.layer in widths and isinstance(r, Change)]
    assert set(stream) == {1}
    assert widths["stem"] == 3


def test_a_channel_dies_for_all_that_read_it() -> None:
    network = residual()
    shrunk_once(network, SslConfig(structure="channels", penalty=1.0), 1.5)
    readers = ("stage2.0.conv1", "stage2.0.shortcut.0")
    gone = [norms(weight(network, layer), "channels") == 0 for layer in readers]
    assert torch.equal(*gone)
    assert any(of.any() for of in gone)


def test_the_published_step_adds_the_gradient_and_zeroes_small_numbers() -> None:
    network = trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), torch.zeros(1, 2))
    with torch.no_grad():
        network.tensor("0.weight").copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        network.tensor("2.weight").copy_(torch.tensor([[0.9 * CUT, 1.0]]))
    hook = Ssl(SslConfig(solver="published", penalty=2.0))
    hook.attach(network)
    network.tensor("0.weight").grad = torch.zeros(2, 2)
    hook.after_backward(step(network))
    torch.testing.assert_close(network.tensor("0.weight").grad, torch.tensor([[1.2, 1.6], [0.0, 0.0]]))
    hook.after_step(step(network))
    assert weight(network, "2").tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("structure", EVERY)
def test_training_leaves_exact_zeros_that_compact_takes_out(structure: str, tmp_path: Path) -> None:
    hook = Ssl(SslConfig(structure=structure, penalty=12.0 if structure == "depth" else 3.0))
    trained = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    records = list(hook.records())
    assert {record.layer for record in records} == {"conv1", "conv2", "conv3", "fc"}
    assert len(records) == 4
    zero = sum(record.after["zero_groups"] for record in records if isinstance(record, Change))
    assert zero > 0
    small, _ = compact(trained)
    x = tiny.digits().test.inputs[:20]
    with torch.no_grad():
        wanted = trained(torch.from_numpy(x)).numpy()
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(small(torch.from_numpy(x)).detach().numpy(), wanted, atol=1e-5 * scale)
    sparse = (
        {f"{r.layer}.weight": "csr" for r in records if isinstance(r, Change)}
        if structure == "columns"
        else {}
    )
    sparse = {name: kind for name, kind in sparse.items() if name in small.program.tensors}
    path = save(small, tmp_path / "small.wieldy", formats=sparse)
    np.testing.assert_allclose(open_package(path)(x), wanted, atol=1e-4 * scale)


def test_surviving_groups_do_not_rise_with_the_penalty() -> None:
    left = []
    for penalty in (0.0, 1.5, 3.0, 10.0):
        hook = Ssl(SslConfig(penalty=penalty))
        fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
        left.append(
            sum(r.after["groups"] - r.after["zero_groups"] for r in hook.records() if isinstance(r, Change))
        )
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]


def test_fit_and_a_plain_loop_do_the_same() -> None:
    data, network = tiny.digits(), tiny.trained()
    config = FitConfig(epochs=1, batch_size=320, warmup=0, learning_rate=0.1, momentum=0, weight_decay=0)
    one = fit(network, data, Ssl(SslConfig(penalty=0.5)), config=config)
    two, hook = tiny.trained(), Ssl(SslConfig(penalty=0.5))
    hook.attach(two)
    two.train()
    optimizer = torch.optim.SGD(two.parameters(), lr=0.1)
    x, y = torch.from_numpy(data.train.inputs), torch.from_numpy(data.train.targets)
    loss = F.cross_entropy(two(x), y)
    optimizer.zero_grad()
    loss.backward()
    hook.after_backward(step(two))
    optimizer.step()
    hook.after_step(step(two))
    hook.finish(two)
    for name, tensor in two.state_dict().items():
        torch.testing.assert_close(tensor, one.state_dict()[name], atol=1e-5, rtol=1e-4)


def test_a_hook_may_be_used_twice_and_does_the_same() -> None:
    hook = Ssl(SslConfig(penalty=0.1))
    first = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    records = list(hook.records())
    second = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    assert tiny.state(first) == tiny.state(second)
    assert records == list(hook.records())


def test_depth_is_for_layers_that_a_shortcut_passes_by() -> None:
    network = residual()
    groups = groups_of(network, SslConfig(structure="depth"), None)
    assert {layer.node.layer for layer in groups.layers} == {
        f"stage{s}.{b}.conv{c}" for s in (1, 2, 3) for b in (0, 1) for c in (1, 2)
    }
    assert groups.refused["stem"] == "no shortcut passes it by"
    assert groups.refused["stage2.0.shortcut.0"] == "it is a shortcut itself"


def test_a_dead_layer_takes_its_partner_and_the_block_collapses() -> None:
    network = residual()
    with torch.no_grad():
        for name in ("conv1.weight", "bn1.weight", "bn1.bias"):
            network.tensor(f"stage1.1.{name}").mul_(0.001)
    x = torch.randn(2, 1, 28, 28)
    hook = Ssl(SslConfig(structure="depth", penalty=0.1))
    hook.attach(network)
    hook.after_step(step(network, 0.1))
    assert not weight(network, "stage1.1.conv1").any()
    before = network(x).detach()
    hook.finish(network)
    assert not weight(network, "stage1.1.conv2").any()
    torch.testing.assert_close(network(x), before)
    small, _ = compact(network)
    assert not [layer for layer in small.program.weighted_layers() if layer.startswith("stage1.1")]
    torch.testing.assert_close(small(x), before, atol=1e-5, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999), stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    groups=st.sampled_from([1, 2]), padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.sampled_from([(1, 1), (2, 1)]),
    kernel=st.sampled_from([(1, 1), (3, 3), (3, 2)]), share=st.floats(0, 1),
)  # fmt: skip
def test_a_product_of_kept_rows_and_columns_is_the_convolution(
    seed: int, stride: tuple[int, int], groups: int, padding: tuple[int, int], dilation: tuple[int, int],
    kernel: tuple[int, int], share: float,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(6, 4 // groups, *kernel, generator=generator)
    weight[torch.rand(6, generator=generator) < share] = 0
    weight.flatten(1)[:, torch.rand(weight[0].numel(), generator=generator) < share] = 0
    x = torch.randn(2, 4, 9, 8, generator=generator)
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    torch.testing.assert_close(
        kept_convolution(x, weight, **how), F.conv2d(x, weight, **how), atol=1e-5, rtol=1e-5
    )
    for (rows, columns), part in zip(kept(weight, groups), weight.chunk(groups), strict=True):
        assert len(rows) == int(part.flatten(1).any(1).sum())
        assert len(columns) == int(part.flatten(1).any(0).sum())


@pytest.mark.parametrize(
    "fields", [{"penalty": -1}, {"structure": "rows"}, {"solver": "adam"}, {"tolerance": 0}]
)
def test_settings_outside_their_range_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        SslConfig(**fields)


def test_other_modules_and_unknown_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Ssl: needs a traced network; got Net.*wieldy\.trace"):
        Ssl().attach(tiny.net())
    with pytest.raises(ConfigError, match=r"'conv9' is no layer with weights\. Layers are conv1, conv2"):
        Ssl(layers=("conv9",)).attach(tiny.traced())


def test_nothing_that_may_go_is_refused_with_the_reasons() -> None:
    with pytest.raises(ConfigError, match=r"no filters may go\. fc: its channels are the network's outputs"):
        Ssl(layers=("fc",)).attach(tiny.traced())
    with pytest.raises(ConfigError, match=r"no depth may go\. first: no shortcut passes it by"):
        Ssl(SslConfig(structure="depth")).attach(trace(tiny.plain(), torch.zeros(1, 4)))
    with pytest.raises(ConfigError, match=r"conv1: the channels that it reads must stay"):
        Ssl(SslConfig(structure="channels"), ("conv1",)).attach(tiny.traced())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    network = tiny.traced()
    with torch.no_grad():
        network.tensor("conv2.weight")[0, 0, 0, 0] = bad
    with pytest.raises(DataError, match="conv2 holds NaN or infinity"):
        Ssl().attach(network)


def test_folded_values_are_what_evaluation_computes_with() -> None:
    network = residual()
    node = next(node for node in network.program.nodes if node.layer == "stage1.0.conv1")
    layer = Folded(node, norms_behind(network.program)[node.name])
    values = layer.values(network)
    x = torch.randn(2, 4, 7, 7)
    wanted = network.get_submodule("stage1.0.bn1")(network.get_submodule("stage1.0.conv1")(x))
    torch.testing.assert_close(F.conv2d(x, values[node.weight], values[layer.bias], padding=1), wanted)
