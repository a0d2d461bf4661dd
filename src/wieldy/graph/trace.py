"""From a user's module to a GraphNetwork, through torch.export."""

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from wieldy.core.errors import ShapeError, TraceError
from wieldy.graph.attention import write_out_attention
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import DTYPES
from wieldy.graph.reader import Reader

FLAT_WEIGHTS = (
    "The tensor attributes .*_flat_weights"  # recurrent layers list their weights anew in each call
)


def trace(model: nn.Module, example: Tensor | tuple[Tensor, ...]) -> GraphNetwork:
    """Follow `model` on `example` and return the network that every method works on.

    Args:
        model: any module; not altered. Its weights must be finite float32. Of a GraphNetwork, a copy is
            returned.
        example: one input, or a tuple of them, each (batch, ...) float32, int64 or bool; the values must be
            such that the network runs.

    Returns:
        A GraphNetwork in evaluation mode with a batch of any size.

    Raises:
        ShapeError: the model does not run on the example.
        UnsupportedOpError: it uses an operator outside the allow-list; names the operator and the module.
        TraceError: export cannot follow it, it fixes its batch size, or its weights are not finite.

    Cost: one forward pass and one export; a copy of the weights.

    Example:
        >>> network = trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.zeros(1, 4))
        >>> [node.op for node in network.program.nodes]
        ['aten.linear.default', 'aten.relu.default']
    """
    inputs = example if isinstance(example, tuple) else (example,)
    copied = _copied(model).eval()
    _check_weights(copied)
    doubled = _doubled(copied, inputs)
    if isinstance(copied, GraphNetwork):
        return copied
    write_out_attention(copied)
    exported = _export(copied, doubled)
    return Reader(exported, copied).network()


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:  # noqa: BLE001 - the user's own parts may raise anything
        raise TraceError(
            f"{type(model).__name__}: cannot be copied: {_first_line(error)} Fold pruning masks and weight "
            "norms into the weights first (torch.nn.utils.prune.remove, remove_weight_norm), and keep no "
            "open files, locks or computed tensors in the network."
        ) from None


def _check_weights(model: nn.Module) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        if tensor.dtype != torch.float32:
            raise TraceError(
                f"{name}: weights must be float32; got {tensor.dtype}. Call model.float() first."
            )
        if not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            raise TraceError(
                f"{name}: weights must be finite; {count} of {tensor.numel()} are NaN or infinite. "
                "The training diverged or the file is damaged: load a sound checkpoint."
            )


def _doubled(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the example with a batch of two: export takes a batch of one for a constant."""
    for value in inputs:
        if (
            not isinstance(value, Tensor)
            or str(value.dtype).removeprefix("torch.") not in DTYPES
            or value.numel() == 0
            or value.ndim == 0
        ):
            found = (
                f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value)
            )
            raise ShapeError(f"example: must be {', '.join(DTYPES)} tensors (batch, ...); got {found}.")
    doubled = tuple(value[:1].expand(2, *value.shape[1:]).contiguous() for value in inputs)
    wrong = _failure(model, doubled)
    if wrong is not None and _failure(model, inputs) is None:
        raise _fixed_batch(model, wrong)
    if wrong is not None:
        shapes = ", ".join(str(tuple(value.shape)) for value in inputs)
        raise ShapeError(
            f"example: the network does not run on inputs of shape {shapes}: {_first_line(wrong)} "
            "Hand in one batch of the inputs that it was trained on."
        )
    return doubled


def _failure(model: nn.Module, inputs: tuple[Tensor, ...]) -> Exception | None:
    """Return what the network raises on these inputs."""
    try:
        with torch.no_grad():
            model(*(value.clone() for value in inputs))
    except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
        return error
    return None


def _fixed_batch(model: nn.Module, error: Exception) -> TraceError:
    return TraceError(
        f"{type(model).__name__}: the batch must stay free, but the network fixes it: {_first_line(error)} "
        "Replace literal batch sizes, and len(x), by x.shape[0] or -1."
    )


def _export(model: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    batch = Dim("batch", min=1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", FLAT_WEIGHTS, UserWarning)
            return torch.export.export(model, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
    except Exception as error:  # noqa: BLE001 - export raises errors of many kinds
        text = str(error)
        if "Constraints violated" in text or "specialized" in text:
            raise _fixed_batch(model, error) from None
        raise TraceError(
            f"{type(model).__name__}: torch.export cannot follow it: {_first_line(error)} Branches on tensor "
            "values, printing of values and calls into other libraries have to leave `forward`."
        ) from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
