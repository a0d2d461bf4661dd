"""The one loop: the same bits from the same seed, hooks in their order, and nothing wrong goes unsaid."""

import math

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.core.config import Frozen
from wieldy.core.data import Data, Metric
from wieldy.core.errors import ConfigError, DataError
from wieldy.core.ledger import Ledger
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook, Step
from wieldy.train.fit import FitConfig, evaluate, fit, learning_rate

SHORT = FitConfig(epochs=2, batch_size=64)


def test_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    one, two = (tiny.state(fit(tiny.traced(), tiny.digits(), config=SHORT)) for _ in range(2))
    other = tiny.state(fit(tiny.traced(), tiny.digits(), config=FitConfig(epochs=2, batch_size=64, seed=1)))
    assert one == two
    assert one["fc.weight"] != other["fc.weight"]


def test_dropout_and_augmentation_are_the_same_bytes_again_whatever_torch_was_seeded_with() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        noisy = fit(model, tiny.digits(), config=SHORT, augment=lambda x: x + torch.randn_like(x))
        assert torch.equal(torch.get_rng_state(), before)
        found.append(tiny.state(noisy))
    assert found[0] == found[1]
    assert tiny.state(fit(model, tiny.digits(), config=SHORT)) != found[0]


def test_the_module_handed_in_is_untouched() -> None:
    network = tiny.traced().train()
    before = tiny.state(network)
    trained = fit(network, tiny.digits(), config=SHORT)
    assert tiny.state(network) == before
    assert network.training
    assert not trained.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert tiny.state(trained)["conv1.weight"] != before["conv1.weight"]


def test_training_learns_the_digits() -> None:
    data = tiny.digits()
    assert evaluate(tiny.traced(), data.test, data) < 0.3
    assert evaluate(tiny.trained(), data.test, data) > 0.5


def test_weights_come_back_in_the_order_in_which_they_are_saved() -> None:
    trained = fit(tiny.traced(), tiny.digits(), config=SHORT)
    assert all(parameter.is_contiguous() for parameter in trained.parameters())


def test_a_plain_module_and_its_trace_train_to_the_same_weights() -> None:
    model = tiny.net()
    plain = tiny.state(fit(model, tiny.digits(), config=SHORT))
    traced = tiny.state(fit(trace(model, torch.zeros(1, 1, 8, 8)), tiny.digits(), config=SHORT))
    assert traced == plain


def test_frozen_weights_stay() -> None:
    network = tiny.traced()
    network.get_submodule("conv2").requires_grad_(False)
    before, after = tiny.state(network), tiny.state(fit(network, tiny.digits(), config=SHORT))
    assert after["conv2.weight"] == before["conv2.weight"]
    assert after["conv3.weight"] != before["conv3.weight"]


def test_one_step_is_nesterov_descent_by_hand() -> None:
    rows = np.eye(4, dtype=np.float32), np.array([0, 1, 2, 0])
    config = FitConfig(epochs=1, batch_size=4, learning_rate=0.5, warmup=0, weight_decay=0.1)
    layer = nn.Linear(4, 3)
    trained = fit(layer, Data(rows, rows, rows), config=config)
    F.cross_entropy(layer(torch.eye(4)), torch.from_numpy(rows[1])).backward()
    with torch.no_grad():  # the first step: velocity = gradient, step = gradient + momentum * velocity
        weight = layer.weight - 0.5 * 1.9 * (layer.weight.grad + 0.1 * layer.weight)
        bias = layer.bias - 0.5 * 1.9 * layer.bias.grad  # no decay on biases
    torch.testing.assert_close(trained.weight.detach(), weight)
    torch.testing.assert_close(trained.bias.detach(), bias)


class Recording(Hook):
    """Writes down what is called, in order."""

    def __init__(self, name: str, log: list[tuple[str, str]]) -> None:
        self.name, self.log = name, log
        self.steps: list[Step] = []
        self.gradients: list[bool] = []

    def attach(self, network: nn.Module) -> None:
        self.log.append((self.name, "attach"))

    def penalty(self, step: Step) -> Tensor | None:
        self.log.append((self.name, "penalty"))
        self.steps.append(step)
        return None

    def after_backward(self, step: Step) -> None:
        self.log.append((self.name, "after_backward"))
        self.gradients.append(all(parameter.grad is not None for parameter in step.network.parameters()))

    def after_step(self, step: Step) -> None:
        self.log.append((self.name, "after_step"))

    def finish(self, network: nn.Module) -> None:
        self.log.append((self.name, "finish"))


def test_hooks_are_called_in_order_at_every_step() -> None:
    log: list[tuple[str, str]] = []
    hooks = Recording("a", log), Recording("b", log)
    fit(tiny.traced(), tiny.digits(), *hooks, config=FitConfig(epochs=2, batch_size=160))
    steps = [(name, when) for when in ("penalty", "after_backward", "after_step") for name in "ab"]
    assert log == [("a", "attach"), ("b", "attach"), *(4 * steps), ("a", "finish"), ("b", "finish")]
    assert [step.index for step in hooks[0].steps] == [0, 1, 2, 3]
    assert all(step.total == 4 and step.outputs.shape == (160, 10) for step in hooks[0].steps)
    assert hooks[0].gradients == [True] * 4


class Pull(Hook):
    """Pulls every weight towards zero."""

    def penalty(self, step: Step) -> Tensor | None:
        return 10.0 * sum(parameter.square().sum() for parameter in step.network.parameters())


def test_a_penalty_is_added_to_the_loss() -> None:
    def size(module: nn.Module) -> float:
        return sum(float(parameter.detach().square().sum()) for parameter in module.parameters())

    config = FitConfig(epochs=2, batch_size=64, learning_rate=0.01)
    pulled = fit(tiny.traced(), tiny.digits(), Pull(), config=config)
    assert size(pulled) < 0.5 * size(fit(tiny.traced(), tiny.digits(), config=config))


class Mask(Hook):
    """Keeps one weight at zero, as a pruning mask would."""

    def after_step(self, step: Step) -> None:
        with torch.no_grad():
            step.network.get_parameter("fc.weight")[0, 0] = 0

    def finish(self, network: nn.Module) -> None:
        with torch.no_grad():
            network.get_parameter("fc.bias")[0] = 7


def test_what_hooks_do_to_weights_is_in_the_result() -> None:
    trained = fit(tiny.traced(), tiny.digits(), Mask(), config=SHORT)
    assert trained.tensor("fc.weight")[0, 0] == 0
    assert trained.tensor("fc.bias")[0] == 7


def test_validation_is_noted_after_every_epoch() -> None:
    ledger, data = Ledger(None), tiny.digits()
    trained = fit(tiny.traced(), data, config=SHORT, ledger=ledger)
    notes = ledger.of_kind("epoch")
    assert [key["epoch"] for key, _ in notes] == [0, 1]
    assert all(FitConfig(**key["config"]) == SHORT for key, _ in notes)
    assert notes[-1][1] == {"accuracy": evaluate(trained, data.validate, data)}


@pytest.mark.parametrize("labels", [3, 11])
def test_labels_that_the_network_has_no_output_for_are_refused(labels: int) -> None:
    rows = np.zeros((4, 4), np.float32), np.array([0, 1, 0, labels - 1])
    with pytest.raises(DataError, match=rf"train: labels must be below 2.*got {labels - 1}"):
        fit(nn.Linear(4, 2), Data(rows, rows, rows), config=SHORT)


class Divides(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.layer, self.by = nn.Linear(4, 2), by

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) / self.by


@pytest.mark.parametrize("by", [0.0, 1e-45])
def test_a_loss_that_is_not_finite_is_refused(by: float) -> None:
    rows = np.ones((4, 4), np.float32), np.array([0, 1, 0, 1])
    with pytest.raises(ConfigError, match=r"the loss is (nan|inf) at step 0.*learning_rate"):
        fit(Divides(by), Data(rows, rows, rows), config=SHORT)


def test_a_learning_rate_that_diverges_is_refused_and_torch_gets_its_state_back() -> None:
    state = torch.get_rng_state()
    with pytest.raises(ConfigError, match="learning_rate"):
        fit(tiny.plain(), vectors(1e18), config=FitConfig(epochs=20, learning_rate=1e30))
    assert torch.equal(torch.get_rng_state(), state)


def vectors(scale: float = 1.0) -> Data:
    draw = np.random.default_rng(0)
    rows = (scale * draw.standard_normal((32, 4))).astype(np.float32), draw.integers(0, 3, 32)
    return Data(rows, rows, rows)


def test_a_network_without_parameters_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to train"):
        fit(nn.Flatten(), vectors(), config=SHORT)


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch_size", 0), ("learning_rate", 0), ("learning_rate", math.nan), ("warmup", 1),
     ("momentum", 1), ("weight_decay", -1), ("precision", "f16"), ("steps", 1)],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        FitConfig(**{field: value})


def test_config_is_the_same_after_json() -> None:
    config = FitConfig(epochs=3, learning_rate=0.2, precision="bf16")
    assert isinstance(config, Frozen)
    assert FitConfig.from_json(config.to_json()) == config


@settings(max_examples=100, deadline=None)
@given(total=st.integers(1, 3000), warmup=st.floats(0, 0.99), rate=st.floats(1e-6, 10))
def test_the_rate_warms_up_then_falls_to_zero_and_stays_within_its_peak(
    total: int, warmup: float, rate: float
) -> None:
    config = FitConfig(learning_rate=rate, warmup=warmup)
    rates = [learning_rate(config, index, total) for index in range(total)]
    assert all(0 < value <= math.nextafter(rate, math.inf) for value in rates)  # warming up rounds once
    warm = int(warmup * total)
    assert rates[:warm] == sorted(rates[:warm])
    assert rates[warm:] == sorted(rates[warm:], reverse=True)
    assert rates[warm] == rate
    assert learning_rate(config, total, total) == 0


def test_bfloat16_trains_float32_weights() -> None:
    config = FitConfig(epochs=1, batch_size=64, precision="bf16")
    trained = fit(tiny.traced(), tiny.digits(), config=config)
    assert {parameter.dtype for parameter in trained.parameters()} == {torch.float32}
    assert tiny.state(trained) != tiny.state(
        fit(tiny.traced(), tiny.digits(), config=FitConfig(epochs=1, batch_size=64))
    )


def test_a_dataloader_trains_as_arrays_do_and_reproducibly() -> None:
    data = tiny.digits()
    tensors = torch.from_numpy(data.train.inputs), torch.from_numpy(data.train.targets)
    dataset = torch.utils.data.TensorDataset(*tensors)

    def trained() -> dict[str, bytes]:
        loader = torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=True)
        return tiny.state(fit(tiny.traced(), Data(loader, data.validate, data.test), config=SHORT))

    assert trained() == trained() != tiny.state(tiny.traced())


def test_batches_in_a_list_train_to_the_same_bytes_as_a_loader_in_that_order() -> None:
    data = tiny.digits()
    batches = list(data.train.batches(64))
    tensors = torch.from_numpy(data.train.inputs), torch.from_numpy(data.train.targets)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=64)
    one, two = (
        tiny.state(fit(tiny.traced(), Data(source, data.validate, data.test), config=SHORT))
        for source in (batches, loader)
    )
    assert one == two


def test_evaluate_is_the_mean_of_the_metric_and_restores_every_mode() -> None:
    data, network = tiny.digits(), tiny.trained().train()
    network.get_submodule("norm1").eval()
    found = evaluate(network, data.test, data)
    assert network.training
    assert not network.get_submodule("norm1").training
    with torch.no_grad():
        guesses = network.eval()(torch.from_numpy(data.test.inputs)).argmax(1).numpy()
    assert found == pytest.approx((guesses == data.test.targets).mean())


def test_evaluate_uses_the_metric_of_the_data() -> None:
    def second(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return (np.argsort(outputs, axis=1)[:, -2:] == targets[:, None]).any(axis=1).astype(float)

    plain = tiny.digits()
    data = Data(plain.train, plain.validate, plain.test, metric=Metric(name="top two", scores=second))
    network = tiny.trained()
    assert evaluate(network, data.test, data) > evaluate(network, plain.test, plain)


def test_a_network_of_one_number_trains_with_a_loss_of_ones_own() -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    error = Metric(name="error", scores=lambda y, t: np.square(y - t), higher_is_better=False)
    rows = np.eye(4, dtype=np.float32), np.arange(4)
    data = Data(rows, rows, rows, metric=error)
    trained = fit(
        model, data, config=FitConfig(epochs=60, batch_size=4), loss=lambda y, t: F.mse_loss(y, t.float())
    )
    assert evaluate(trained, data.test, data) < 0.1 * evaluate(model, data.test, data)
