"""What cannot be traced is refused, with a name, a reason and a way out."""

from collections.abc import Callable

import op_cases
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from wieldy.core.errors import ShapeError, TraceError, UnsupportedOpError
from wieldy.graph.trace import trace

IMAGE = torch.zeros(1, 3, 8, 8)
ONES, WHOLE, KERNEL, ZEROS = (
    torch.ones(3),
    torch.ones(8, dtype=torch.int64),
    torch.ones(2, 3, 2, 2),
    torch.zeros(3),
)
Function = Callable[[Tensor], Tensor]


class Inner(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(3, 4, 3), op_cases.Call(function))

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x)


def refusal(function: Function, example: Tensor = IMAGE) -> str:
    """The message with which a function is refused."""
    with pytest.raises(TraceError) as caught:
        trace(op_cases.Call(function), example)
    return str(caught.value)


UNSUPPORTED: dict[str, Function] = {
    "aten.logcumsumexp": lambda x: x.logcumsumexp(1),
    "aten.flip": lambda x: x.flip(1),
    "aten.cumprod": lambda x: x.cumprod(1),
    "aten.topk": lambda x: x.topk(2)[0],
    "aten.max_pool2d_with_indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "aten.fft_fft": lambda x: torch.fft.fft(x).abs(),
    "aten.celu": F.celu,
}


@pytest.mark.parametrize("op", UNSUPPORTED)
def test_an_unsupported_operator_is_named_with_its_module_and_line(op: str) -> None:
    with pytest.raises(UnsupportedOpError) as caught:
        trace(Inner(UNSUPPORTED[op]), IMAGE)
    message = str(caught.value)
    assert message.startswith(f"{op}.")
    assert "'part.1' (Call)" in message
    assert "op_cases.py" in message  # where the module that holds the function calls it
    assert "conv2d" in message


def test_a_switch_inside_forward_is_refused() -> None:
    def frozen(x: Tensor) -> Tensor:
        with torch.no_grad():
            return x.relu()

    assert "torch.no_grad()" in refusal(frozen)


def test_a_branch_on_values_is_refused() -> None:
    message = refusal(lambda x: x + 1 if x.sum() > 0 else x)
    assert message.startswith("Call: ")
    assert "Branches on tensor values" in message


FIXED: dict[str, Function] = {
    "view": lambda x: F.linear(x.view(1, -1), torch.ones(2, 192)),
    "example": lambda x: x.reshape(3, 192) + torch.ones(3, 1),
    "comparison": lambda x: x.relu() if x.shape[0] == 2 else x,
}


@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_batch_is_refused(name: str) -> None:
    example = torch.zeros(3, 3, 8, 8) if name == "example" else IMAGE
    message = refusal(FIXED[name], example)
    assert "the batch must stay free" in message
    assert "x.shape[0]" in message


MIXING: dict[str, Function] = {
    "mean over the batch": lambda x: x - x.mean(0),
    "softmax over the batch": lambda x: x.softmax(0),
    "batch into channels": lambda x: x.reshape(-1, 64),
    "batch moved": lambda x: x.unsqueeze(0),
    "first example": lambda x: x[:1],
    "batch as a factor": lambda x: x * x.shape[0],
    "batch last": lambda x: x.permute(1, 2, 3, 0),
    "norm with the batch elsewhere": lambda x: F.group_norm(x.transpose(0, 1), 1).transpose(0, 1),
    "one example": lambda x: x.unbind(0)[0] if x.shape[0] == 1 else x.select(0, 0),
    "halves of the batch": lambda x: x.chunk(2, 0)[0],
    "whole mean": lambda x: x.mean(dim=(0, 1, 2, 3)),
}


@pytest.mark.parametrize("name", MIXING)
def test_mixing_the_examples_of_a_batch_is_refused(name: str) -> None:
    message = refusal(MIXING[name])
    assert "batch" in message or "size" in message


RANDOM: dict[str, tuple[Function, str]] = {
    "dropout": (lambda x: F.dropout(x, 0.5), "training=self.training"),
    "dropout2d": (lambda x: F.dropout2d(x, 0.5), "training=self.training"),
    "statistics": (lambda x: F.batch_norm(x, None, None, training=True), "track_running_stats"),
    "training norm": (
        lambda x: F.batch_norm(x, ZEROS, ONES, training=True),
        "self.training",
    ),
}


@pytest.mark.parametrize("name", RANDOM)
def test_what_evaluation_mode_does_not_settle_is_refused(name: str) -> None:
    function, way_out = RANDOM[name]
    assert way_out in refusal(function)


def test_writing_into_memory_that_is_read_elsewhere_is_refused() -> None:
    def through_view(x: Tensor) -> Tensor:
        y = x * 2
        y.view(-1, 192).relu_()
        return y

    def under_view(x: Tensor) -> Tensor:
        y = x * 2
        flat = y.flatten(1).unsqueeze(1)
        y.relu_()
        return flat

    assert "writes in place into memory that 'mul' shares" in refusal(through_view)
    assert "writes in place into memory that 'unsqueeze' shares" in refusal(under_view)


OTHERS: dict[str, tuple[Function, str]] = {
    "even same": (lambda x: F.conv2d(x, KERNEL, padding="same"), "odd kernel"),
    "infinite": (lambda x: x + float("inf"), "must be finite"),
    "double precision": (lambda x: x.to(torch.float64).sum(1), "computes in float64"),
    "half a table": (lambda x: x * WHOLE.to(torch.complex64), "computes in complex64"),
    "bits": (lambda x: (x.long() & x.relu().long()) * 1.0, "truth values"),
    "other divisor": (lambda x: F.avg_pool2d(x, 2, divisor_override=3), "'divisor_override' must keep"),
    "pool of three axes": (lambda x: F.avg_pool2d(x.flatten(2), (1, 2)), "must work on"),
}


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize("name", OTHERS)
def test_what_a_program_cannot_say_is_refused(name: str) -> None:
    function, reason = OTHERS[name]
    assert reason in refusal(function)


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2, 8))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * 2)


def test_weights_that_are_computed_on_each_call_are_refused_with_the_way_to_fold_them() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    prune.l1_unstructured(model[0], "weight", 0.5)
    with pytest.raises(TraceError, match=r"prune\.remove"):
        trace(model, IMAGE)
    parametrized = parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    with pytest.raises(TraceError, match=r"remove_parametrizations\(module, 'weight'\)"):
        trace(parametrized, IMAGE)
    with pytest.raises(TraceError, match="'weight' must be a stored tensor"):
        trace(Doubled(), IMAGE)
    prune.remove(model[0], "weight")
    trace(model, IMAGE)


class Tied(nn.Module):
    """A matrix whose halves are used, and the whole as well."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(8, 8))
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.weight.chunk(2)
        y = F.linear(x, first) * F.linear(x, second)
        return y @ self.weight[:4] if not self.whole else F.linear(x, self.weight) @ self.weight.T


def test_parts_of_a_parameter_are_parameters_of_their_own_unless_the_whole_is_used_too() -> None:
    torch.manual_seed(0)
    model, x = Tied(whole=False), torch.randn(3, 8)
    network = trace(model, x)
    assert torch.equal(network(x), model(x))
    assert sorted(len(parameter) for parameter in network.parameters()) == [4, 4, 4]
    with pytest.raises(TraceError, match=r"^weight: is used whole and in parts"):
        trace(Tied(whole=True), x)


def test_a_network_with_a_state_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls.add_(1)
            return x + self.calls

    with pytest.raises(TraceError, match=r"^calls: .* changes this tensor"):
        trace(Counting(), IMAGE)


@pytest.mark.parametrize("name", ["program", "tensor", "arrays"])
def test_a_part_whose_name_the_traced_network_needs_is_refused(name: str) -> None:
    model = nn.Sequential()
    model.add_module(name, nn.Conv2d(3, 4, 3))
    with pytest.raises(TraceError, match=rf"'{name}' collides .* '{name}_'"):
        trace(model, IMAGE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_weights_that_are_not_finite_are_refused_by_name(value: float) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] = value
    with pytest.raises(TraceError, match=r"^0\.weight: .* 1 of 108 are NaN or infinite"):
        trace(model, IMAGE)


def test_weights_of_another_precision_are_refused_by_name() -> None:
    with pytest.raises(TraceError, match=r"^0\.weight: weights must be float32; got torch\.float64"):
        trace(nn.Sequential(nn.Conv2d(3, 4, 3)).double(), IMAGE)


@pytest.mark.parametrize(
    "example",
    [
        torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 2, 2), torch.zeros(3, 8), IMAGE.double(), IMAGE.long(),
        torch.zeros(()), torch.zeros(0, 3, 8, 8), (IMAGE, IMAGE),
    ],
    ids=["channels", "size", "rank", "float64", "int64", "scalar", "empty", "two"],
)  # fmt: skip
def test_a_wrong_example_is_refused(example: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"^example: "):
        trace(nn.Sequential(nn.Conv2d(3, 4, 3)), example)
