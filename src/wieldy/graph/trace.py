"""From a user's module to a GraphNetwork, through torch.export."""

import copy
import inspect
import io
import logging
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.library import Library
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from wieldy.core.errors import ShapeError, TraceError
from wieldy.graph.attention import write_out_attention
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import DTYPES
from wieldy.graph.reader import Reader

WRAPPERS = {  # classes, by name: some live in modules that are slow to import
    "OptimizedModule": "the module that was handed to torch.compile",
    "DataParallel": "its .module",
    "DistributedDataParallel": "its .module",
    "RecursiveScriptModule": "the Python module that was handed to torch.jit",
    "TopLevelTracedModule": "the Python module that was handed to torch.jit",
}
FLAT_WEIGHTS = (
    "The tensor attributes .*_flat_weights"  # recurrent layers list their weights anew in each call
)

ROUNDING = "fake_quantize_per_tensor_affine_cachemask"  # what a rounding to levels is made of


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
    _check_kind(model)
    _check_weights(model)
    copied = _copied(model).eval()
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
        known = "deepcopy protocol" in str(error)  # torch's own words for weights that are computed
        reason = "some of its weights are computed on each call." if known else _first_line(error)
        raise TraceError(
            f"{type(model).__name__}: cannot be copied: {reason} Fold pruning masks and weight "
            "norms into the weights first (torch.nn.utils.prune.remove, remove_weight_norm), and keep no "
            "open files, locks or computed tensors in the network."
        ) from None


def _check_kind(model: nn.Module) -> None:
    """Refuse wrappers around a network, and parts whose weights are not there as plain numbers."""
    name = type(model).__name__
    if name in WRAPPERS:
        raise TraceError(f"{name}: is a wrapper around a network. Hand in {WRAPPERS[name]}.")
    for path, module in model.named_modules():
        where = f"{path or 'the network'} ({type(module).__name__})"
        if parametrize.is_parametrized(module):
            tensor = next(iter(module.parametrizations))
            raise TraceError(
                f"{where}: its {tensor} is computed by a parametrization on each call. Fold it first: "
                f"torch.nn.utils.parametrize.remove_parametrizations(module, {tensor!r})."
            )
        if type(module).__module__.startswith("torch.ao.nn."):
            raise TraceError(
                f"{where}: is quantized already. Hand in the network in float32, and let Wieldy round it."
            )


def _check_weights(model: nn.Module) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise TraceError(
                f"{name}: has no values yet. Run the network once, so that its lazy layers know their sizes, "
                "and train it."
            )
        if tensor.device.type != "cpu" or tensor.layout != torch.strided:
            found = tensor.device if tensor.layout == torch.strided else tensor.layout
            raise TraceError(
                f"{name}: weights must be dense and on the CPU; got {found}. Call model.cpu() or .to_dense() "
                "first; a network on 'meta' has no values: load its checkpoint."
            )
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
    _let_roundings_be_traced()
    try:
        with _quietly():
            return torch.export.export(model, inputs, dynamic_shapes=_free_batches(model, batch, len(inputs)))
    except Exception as error:  # noqa: BLE001 - export raises errors of many kinds
        text = str(error)
        if "Constraints violated" in text or "specialized" in text:
            raise _fixed_batch(model, error) from None
        raise TraceError(
            f"{type(model).__name__}: torch.export cannot follow it{_user_line(error)}: "
            f"{_first_line(error)} Branches on tensor values, printing of values and calls into "
            "other libraries have to leave `forward`."
        ) from None


def _shape_of_rounding(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape, dtype=torch.bool)


@cache
def _let_roundings_be_traced() -> Library:
    """Tell torch of what shape a rounding to levels is, which it does not know while it traces."""
    library = Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    if not torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{ROUNDING}", "Meta"):
        library.impl(ROUNDING, _shape_of_rounding, "Meta")  # type: ignore[no-untyped-call]
    return library  # while it lives, it holds


def _free_batches(model: nn.Module, batch: Any, count: int) -> tuple[Any, ...]:
    """Return what torch.export wants to know of each input; those of `forward(*inputs)` count as one."""
    sizes = tuple({0: batch} for _ in range(count))
    starred = inspect.Parameter.VAR_POSITIONAL
    return (
        (sizes,)
        if starred in {of.kind for of in inspect.signature(model.forward).parameters.values()}
        else sizes
    )


def _user_line(error: Exception) -> str:
    """Return where the innermost code is that is neither torch's nor ours."""
    ours = (str(Path(torch.__file__).parent), __file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)]
    return f' (File "{frames[-1].filename}", line {frames[-1].lineno})' if frames else ""


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep torch from printing whole graphs and hints beside our one sentence."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.filterwarnings("ignore", FLAT_WEIGHTS, UserWarning)
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
