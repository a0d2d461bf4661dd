"""Pivoting: blocks are exact, channels take the places that make them solid, and training leads there."""

import copy

import networks
import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.formats.sparse import block_rows
from wieldy.graph.grouped import as_grouped
from wieldy.graph.network import GraphNetwork
from wieldy.graph.pivoting import best_patterns, neighbours
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook, Step
from wieldy.methods.prune.pivot import Pivot, PivotConfig, by_unit
from wieldy.methods.prune.zeros import block_scores
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.train.fit import FitConfig, fit

LAYERS = ("conv1", "conv2", "conv3", "fc")
SHORT = FitConfig(epochs=4, batch_size=32, learning_rate=0.02)  # 40 steps
DIAGONAL = PivotConfig(template="diagonal", blocks=4, smallest=1)


class Chain(nn.Module):
    """Convolutions and linear layers one after another, with a norm, a residual and a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.same = nn.Conv2d(16, 16, 3, padding=1)
        self.hidden = nn.Linear(16 * 16, 12)
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.wide(torch.relu(self.stem(x)))))
        x = x + torch.relu(self.same(x))
        return self.last(torch.relu(self.hidden(x.flatten(1))))


def chain() -> tuple[GraphNetwork, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(4, 1, 4, 4)
    model = Chain()
    nn.init.uniform_(model.norm.weight, 0.5, 1.5)
    nn.init.normal_(model.norm.running_mean, std=0.2)
    return trace(model.eval(), x), x


def pivoted(network: GraphNetwork, hook: Pivot) -> GraphNetwork:
    """Pivot without training."""
    hook.attach(network)
    hook.finish(network)
    return network


class Masked(Pivot):
    """Channels stay where they are."""

    def fold(self, network: GraphNetwork) -> None:
        pass


def weight(network: GraphNetwork, layer: str) -> np.ndarray:
    return network.tensor(f"{layer}.weight").detach().numpy()


def kept_columns(network: GraphNetwork, layer: str) -> int:
    return len(block_rows(weight(network, layer), 8).columns)


def test_reference_patterns_of_a_layer_whose_rows_stay_are_those_of_zeros_in_blocks() -> None:
    network = tiny.traced()
    squares = np.square(weight(network, "fc").astype(np.float64))
    pattern = best_patterns(squares, neighbours(10, 8), round(0.3 * 2 * 16))[neighbours(10, 8)]
    wanted = weight(network, "fc") * pattern
    pivoted(network, Pivot(PivotConfig(sparsity=0.7), ["fc"]))
    np.testing.assert_array_equal(weight(network, "fc"), wanted)


def test_reference_kernels_count_by_their_norm_and_flattened_positions_together() -> None:
    kernels = np.arange(12.0).reshape(2, 2, 3)
    by_hand = [[np.sqrt(0 + 1 + 4), np.sqrt(9 + 16 + 25)], [np.sqrt(36 + 49 + 64), np.sqrt(81 + 100 + 121)]]
    np.testing.assert_allclose(by_unit(kernels, np.arange(2)), by_hand)
    np.testing.assert_allclose(by_unit(kernels, np.zeros(2, int)), np.sum(by_hand, axis=1)[:, None])


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 1.0])
def test_eight_neighbours_share_a_pattern_of_just_so_many_columns(sparsity: float) -> None:
    network = tiny.traced()
    before = {layer: np.count_nonzero(weight(network, layer)) for layer in LAYERS}
    hook = Pivot(PivotConfig(sparsity=sparsity), LAYERS)
    pivoted(network, hook)
    for layer in LAYERS:
        values = weight(network, layer)
        columns = -(-len(values) // 8) * values[0].size
        assert kept_columns(network, layer) == round((1 - sparsity) * columns)
    for record in hook.records():
        assert isinstance(record, Change)
        nonzero = np.count_nonzero(weight(network, record.layer))
        assert (record.before["nonzero"], record.after["nonzero"]) == (before[record.layer], nonzero)


def test_rows_of_one_pattern_that_are_dealt_out_over_the_layer_are_put_side_by_side() -> None:
    network = tiny.traced(32)
    rows, columns = np.arange(64), np.arange(64 * 9)
    pattern = torch.from_numpy(rows[:, None] % 8 == columns % 8).reshape(64, 64, 3, 3)
    with torch.no_grad():
        network.tensor("conv3.weight").mul_(pattern)
    before = np.sort(weight(network, "conv3"), axis=None)
    assert kept_columns(network, "conv3") == 8 * 576
    pivoted(network, Pivot(PivotConfig(sparsity=7 / 8), ["conv3"]))
    np.testing.assert_array_equal(np.sort(weight(network, "conv3"), axis=None), before)  # nothing is lost
    assert kept_columns(network, "conv3") == 576


def kept_blocks(network: GraphNetwork, layer: str, rows: int) -> tuple[int, int]:
    """Return how many blocks of rows x 4 inputs are not all zeros, and of how many."""
    scores = block_scores(weight(network, layer).astype(np.float64), rows, 4)
    return int(np.count_nonzero(scores)), scores.size


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_blocks_of_four_inputs_are_just_so_many_as_they_are_stored(rows: int, sparsity: float) -> None:
    network = tiny.traced()
    pivoted(network, Pivot(PivotConfig(template=f"block_{rows}x4", sparsity=sparsity), LAYERS))
    for layer in LAYERS:
        kept, total = kept_blocks(network, layer, rows)
        assert kept == round((1 - sparsity) * total)


@pytest.mark.parametrize(("rows", "share"), [(1, 1.0), (4, 0.8)])  # of both sides no search is exact
def test_channels_that_are_read_together_are_put_side_by_side(rows: int, share: float) -> None:
    network = tiny.traced(32)
    places = np.arange(64)
    outputs = places % 16 if rows == 4 else places // 4
    pattern = torch.from_numpy(outputs[:, None] == places % 16)[:, :, None, None]
    with torch.no_grad():
        network.tensor("conv3.weight").mul_(pattern)
    before = np.square(weight(network, "conv3")).sum()
    least = 64 * 9 // rows
    assert kept_blocks(network, "conv3", rows)[0] == 4 * least
    config = PivotConfig(template=f"block_{rows}x4", sparsity=15 / 16)
    pivoted(network, Pivot(config, ["conv3"]))
    assert np.square(weight(network, "conv3")).sum() >= share * before * (1 - 1e-6)
    assert kept_blocks(network, "conv3", rows)[0] == least


def test_channels_stay_where_they_are_if_blocks_would_not_be_blocks_elsewhere() -> None:
    flattened = nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 9, 5)
    )
    network = trace(flattened.eval(), torch.randn(1, 4, 7, 7))
    hook = Pivot(PivotConfig(template="block_1x4", sparsity=0.5))
    hook.attach(network)
    assert [[layer.name for layer, _ in family.sides] for family in hook._families] == [["2"]]
    pivoted(network, hook)
    for layer in ("2", "4"):
        kept, total = kept_blocks(network, layer, 1)
        assert kept == round(0.5 * total)


BLOCKS = [PivotConfig(template=f"block_{shape}", sparsity=0.7) for shape in ("8x1", "1x4", "4x4")]


@pytest.mark.parametrize("config", [*BLOCKS, DIAGONAL], ids=lambda config: config.template)
def test_folded_equals_masked(config: PivotConfig) -> None:
    network, x = chain()
    found = pivoted(copy.deepcopy(network), Pivot(config))
    wanted = pivoted(copy.deepcopy(network), Masked(config))
    assert networks.relative_error(found(x), wanted(x)) < 1e-5
    assert networks.relative_error(found(x), network(x)) > 1e-3  # so the zeros mattered
    moved = [key for key, array in found.arrays().items() if not np.array_equal(array, wanted.arrays()[key])]
    assert "norm.running_mean" in moved


@pytest.mark.parametrize("template", ["block_8x1", "block_4x4"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet", "grouped"])
def test_folded_equals_masked_in_networks_of_the_field(name: str, template: str) -> None:
    _, x, network = networks.traced(name)
    config = PivotConfig(template=template, sparsity=0.5, starts=2)
    hook = Pivot(config)
    found = pivoted(copy.deepcopy(network), hook)
    wanted = pivoted(copy.deepcopy(network), Masked(config))
    assert networks.relative_error(found(x), wanted(x)) < 1e-5
    weighted = network.program.weighted_layers()
    assert sorted(record.layer for record in hook.records()) == sorted(weighted)


def test_layers_that_meet_at_an_add_share_one_order() -> None:
    hook = Pivot(PivotConfig(sparsity=0.5))
    hook.attach(tiny.traced())
    assert [[layer.name for layer, _ in family.sides] for family in hook._families] == [["conv2", "conv3"]]


@pytest.mark.parametrize(("layer", "shape"), [("wide", (16, 2, 3, 3)), ("hidden", (12, 64, 1))])
def test_a_diagonal_layer_becomes_a_grouped_one_that_computes_the_same(layer, shape, tmp_path) -> None:  # type: ignore[no-untyped-def]
    network, x = chain()
    hook = Pivot(DIAGONAL, [layer])
    pivoted(network, hook)
    assert [record.note for record in hook.records() if isinstance(record, Change)] == [""]
    wanted = network(x)
    as_grouped(network, layer, 4)
    assert networks.relative_error(network(x), wanted) < 1e-5
    assert weight(network, layer).shape == shape
    package = open_package(save(network, tmp_path / "net.wieldy"))
    np.testing.assert_allclose(package(x.numpy()), wanted.detach().numpy(), atol=1e-5)
    network.train()(x).sum().backward()


def test_blocks_that_cannot_be_in_order_are_left_out_or_said_of_layers_that_are_named() -> None:
    network, _ = chain()
    hook = Pivot(DIAGONAL)
    pivoted(copy.deepcopy(network), hook)
    reasons = {record.layer: record.reason for record in hook.records() if isinstance(record, Refused)}
    assert reasons["same"] == "it adds its outputs to its inputs, so that both have one order"
    assert "first layer" in reasons["stem"]
    assert "blocks of 0 x 3 channels do not pay" in reasons["last"]
    assert reasons["wide"] == "a layer that is no smaller has chosen the order of channels that they share"
    hook = Pivot(DIAGONAL, ["same", "stem", "hidden"])
    pivoted(network, hook)
    changes = {record.layer: record for record in hook.records() if isinstance(record, Change)}
    assert set(changes) == {"same", "hidden"}
    assert changes["same"].note.startswith("its blocks are not in order: it adds its outputs")
    assert changes["hidden"].note == ""
    assert np.count_nonzero(weight(network, "same")) == 16 * 16 * 9 / 4


@pytest.mark.parametrize("template", ["block_8x1", "block_4x4", "diagonal"])
def test_training_ends_in_the_template_and_what_is_outside_is_zero(template: str) -> None:
    config = PivotConfig(template=template, sparsity=0.75, blocks=4, smallest=1)
    hook = Pivot(config, ("conv2", "conv3"))
    trained = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    for record in hook.records():
        assert isinstance(record, Change)
        assert record.after["nonzero"] == pytest.approx(0.25 * record.after["weights"], rel=0.01)
        assert record.after["nonzero"] == np.count_nonzero(weight(trained, record.layer))


class Watch(Hook):
    """Notes after every step what is zero; stands after the hook that makes it so."""

    def __init__(self) -> None:
        self.zero: list[np.ndarray] = []

    def after_step(self, step: Step) -> None:
        assert isinstance(step.network, GraphNetwork)
        self.zero.append(weight(step.network, "conv3") == 0)


def test_nothing_is_zero_until_the_template_stands_and_then_it_stays() -> None:
    watch = Watch()
    hook = Pivot(PivotConfig(sparsity=0.8, until=0.5), ("conv2", "conv3"))
    fit(tiny.trained(), tiny.digits(), hook, watch, config=SHORT)
    shares = [zero.mean() for zero in watch.zero]
    assert len(shares) == 40
    assert shares[int(0.25 * 40) - 1] == 0
    assert min(shares[20:]) == max(shares[20:]) == pytest.approx(0.8, abs=0.01)
    assert all((one == two).all() for one, two in zip(watch.zero[20:], watch.zero[21:], strict=False))


def test_the_penalty_moves_what_is_outside_towards_zero() -> None:
    hook = Pivot(PivotConfig(template="diagonal", blocks=2, smallest=1, penalty=3.0), ["conv3"])
    network = tiny.traced()
    hook.attach(network)
    step = Step(network, torch.zeros(1), torch.zeros(1), torch.zeros(1), 0, 100, 0.1)
    found = hook.penalty(step)
    assert found is not None
    outside = network.tensor("conv3.weight")[~hook._masks["conv3.weight"]]
    assert found.item() == pytest.approx(3 * outside.square().sum().item(), rel=1e-5)
    found.backward()
    gradient = network.tensor("conv3.weight").grad
    assert gradient is not None
    assert torch.equal(gradient != 0, ~hook._masks["conv3.weight"])


def test_a_hook_serves_twice_and_the_same_seed_gives_the_same_bits() -> None:
    hook = Pivot(PivotConfig(sparsity=0.6), ("conv2", "conv3"))
    runs = [tiny.state(fit(tiny.trained(), tiny.digits(), hook, config=SHORT)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_it_works_in_a_plain_loop() -> None:
    data, network = tiny.digits(), tiny.trained().train()
    x, y = torch.from_numpy(data.train.inputs[:64]), torch.from_numpy(data.train.targets[:64])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    hook = Pivot(PivotConfig(sparsity=0.75))
    hook.attach(network)
    for index in range(20):
        hook.before_forward(network)
        outputs = network(x)
        step = Step(network, x, outputs, y, index, 20, 0.02)
        loss = nn.functional.cross_entropy(outputs, y)
        extra = hook.penalty(step)
        loss = loss if extra is None else loss + extra
        optimizer.zero_grad()
        loss.backward()
        hook.after_backward(step)
        optimizer.step()
        hook.after_step(step)
    hook.finish(network)
    assert kept_columns(network, "conv3") == round(0.25 * 2 * 144)
    assert {record.layer for record in hook.records()} == set(LAYERS)


def test_what_is_saved_runs_as_the_network_does_and_is_small(tmp_path) -> None:  # type: ignore[no-untyped-def]
    network = pivoted(tiny.trained(), Pivot(PivotConfig(sparsity=0.9), ("conv2", "conv3")))
    formats = {"conv2.weight": "block_8x1", "conv3.weight": "block_8x1"}
    path = save(network, tmp_path / "net.wieldy", formats=formats)
    x = torch.from_numpy(tiny.digits().test.inputs[:20])
    with torch.no_grad():
        wanted = network(x).numpy()
    np.testing.assert_allclose(open_package(path)(x.numpy()), wanted, rtol=1e-4, atol=1e-4)
    dense = save(tiny.trained(), tmp_path / "dense.wieldy")
    assert path.stat().st_size < dense.stat().st_size - 0.7 * 4 * weight(network, "conv3").size


def test_what_is_in_groups_already_is_left_out() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 16, 1)).eval()
    network = trace(model, torch.zeros(1, 1, 8, 8))
    hook = Pivot(PivotConfig(sparsity=0.5), ["1", "2"])
    pivoted(network, hook)
    found = {record.layer: record for record in hook.records()}
    assert isinstance(found["1"], Refused)
    assert "in groups already" in found["1"].reason
    assert isinstance(found["2"], Change)


def test_rejects_a_network_that_is_not_traced_a_layer_that_is_not_there_and_weights_that_are_not_finite() -> (
    None
):
    with pytest.raises(ConfigError, match=r"Pivot: needs a traced network; got Net"):
        Pivot().attach(tiny.net())
    with pytest.raises(ConfigError, match=r"pivot: 'conv9' is no layer with weights"):
        Pivot(layers=["conv9"]).attach(tiny.traced())
    network = tiny.traced()
    with torch.no_grad():
        network.tensor("conv2.weight")[0, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match=r"pivot: conv2\.weight holds NaN or infinity"):
        Pivot().attach(network)


@pytest.mark.parametrize(
    "wrong",
    [{"sparsity": 1.1}, {"blocks": 1}, {"template": "block_4x1"}, {"penalty": -1}, {"rounds": 0},
     {"until": 0}, {"starts": 0}, {"search": "random"}, {"smallest": 0}],
    ids=str,
)  # fmt: skip
def test_rejects_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        PivotConfig(**wrong)


def test_grouped_rejects_what_is_not_in_blocks() -> None:
    network, _ = chain()
    for layer, blocks, reason in (
        ("wide", 4, "weights outside 4 blocks"),
        ("wide", 3, "cannot be cut into 3"),
        ("nowhere", 2, "'nowhere' is no layer with weights"),
    ):
        with pytest.raises(ConfigError, match=reason):
            as_grouped(network, layer, blocks)
    pivoted(network, Pivot(DIAGONAL, ["wide"]))
    as_grouped(network, "wide", 4)
    with pytest.raises(ConfigError, match="it has groups already"):
        as_grouped(network, "wide", 4)
