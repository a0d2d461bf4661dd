"""What torch does for each overload of the allow-list, where its own function takes other arguments."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wieldy.graph.ops import BINARY, CAST, EMBEDDING, GRU, LSTM, WHERE

Call = Callable[..., Tensor]
TAKES_ALPHA = ("add", "sub")
TAKES_TENSORS = (torch.maximum, torch.minimum, torch.logical_and, torch.logical_or)


def operator(op: str) -> Call:
    """Return torch's operator for an overload of the allow-list; it takes the arguments of ops.py by name."""
    if op in SPECIAL:
        return SPECIAL[op]
    _, name, overload = op.split(".")
    if op in BINARY:
        return _with_numbers(getattr(torch, name), takes_alpha=name in TAKES_ALPHA)
    return getattr(getattr(torch.ops.aten, name), overload)  # type: ignore[no-any-return]


def _with_numbers(function: Call, *, takes_alpha: bool) -> Call:
    """Torch's Python function takes numbers on either side, which the overload does not."""

    def call(**given: Any) -> Tensor:
        first, second = given["self"], given["other"]
        if not isinstance(first, Tensor):
            first = torch.tensor(first, dtype=second.dtype if isinstance(first, int) else torch.float32)
        if not isinstance(second, Tensor) and function in TAKES_TENSORS:
            second = torch.tensor(second, dtype=first.dtype if isinstance(second, int) else torch.float32)
        return function(first, second, alpha=given["alpha"]) if takes_alpha else function(first, second)

    return call


def _where(**given: Any) -> Tensor:
    return torch.where(given["condition"], given["self"], given["other"])


def _cast(**given: Any) -> Tensor:
    found: Tensor = given["self"].to(getattr(torch, given["dtype"]))
    return found


def _embedding(**given: Any) -> Tensor:
    padding = given["padding_idx"]
    return F.embedding(given["indices"], given["weight"], padding if padding >= 0 else None)


def _recurrent(**given: Any) -> Tensor:
    """One layer in one direction, batch first, from a state of zeros: the outputs of all steps."""
    x, weight_hh = given["input"], given["weight_hh"]
    weights = [given[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    params = [weight for weight in weights if weight is not None]
    hidden = weight_hh.shape[1]
    state = x.new_zeros(1, x.shape[0], hidden)
    is_lstm = weight_hh.shape[0] == 4 * hidden
    x = x.flip(1) if given["reverse"] else x
    rest = (params, len(params) == 4, 1, 0.0, False, False, True)
    found: Tensor = torch.lstm(x, (state, state), *rest)[0] if is_lstm else torch.gru(x, state, *rest)[0]
    return found.flip(1) if given["reverse"] else found


def _size_given(name: str, **fixed: Any) -> Call:
    """An upsampling whose size is always spelled out."""

    def call(**given: Any) -> Tensor:
        function = getattr(torch.ops.aten, name).vec
        more = {key: value for key, value in given.items() if key not in ("input", "output_size")}
        found: Tensor = function(given["input"], given["output_size"], **more, **fixed)
        return found

    return call


SPECIAL: dict[str, Call] = {
    WHERE: _where,
    CAST: _cast,
    EMBEDDING: _embedding,
    LSTM: _recurrent,
    GRU: _recurrent,
    "aten.upsample_nearest1d.vec": _size_given("upsample_nearest1d", scale_factors=None),
    "aten.upsample_nearest2d.vec": _size_given("upsample_nearest2d", scale_factors=None),
    "aten.upsample_bilinear2d.vec": _size_given("upsample_bilinear2d", scale_factors=None),
}
