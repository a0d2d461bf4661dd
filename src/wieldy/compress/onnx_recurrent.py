"""Recurrent layers of ONNX in torch, whose gates stand in another order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wieldy.compress.onnx_ops import Attributes, Op, refuse


def recurrent(kind: type[nn.RNNBase]) -> Op:
    """One recurrent layer of ONNX in torch; its gates stand in torch's order already."""

    def call(at: Attributes, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, *rest: Any) -> Any:
        lengths, *given = (*rest, None, None, None)[:3]
        if lengths is not None or len(rest) > 3:
            refuse("a recurrent layer with lengths or peepholes")
        if at.get("direction", b"forward") not in (b"forward", b"bidirectional") or at.get("layout", 0):
            refuse("a recurrent layer backwards, or with the batch first")
        if kind is nn.GRU and not at.get("linear_before_reset", 0):
            refuse("GRU with linear_before_reset=0")
        if at.get("activations") or at.get("clip") or at.get("input_forget"):
            refuse("a recurrent layer with activations of its own, clipped, or with joined gates")
        size = at["hidden_size"]
        weights: list[Tensor] = []
        for way in range(len(w)):
            weights += [w[way], r[way]]
            if b is not None:
                half = b.shape[1] // 2
                weights += [b[way, :half], b[way, half:]]
        zeros = torch.zeros(len(w), x.shape[1], size)
        hidden, cell = (state if state is not None else zeros for state in given)
        states = (hidden, cell) if kind is nn.LSTM else hidden
        function: Any = torch.lstm if kind is nn.LSTM else torch.gru
        found = function(x, states, weights, b is not None, 1, 0.0, False, len(w) == 2, False)
        steps = found[0].reshape(*found[0].shape[:2], len(w), size).transpose(1, 2)
        return (steps, *found[1:])

    return call


RECURRENT = {"LSTM": recurrent(nn.LSTM), "GRU": recurrent(nn.GRU)}
GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}  # where torch's gates stand in ONNX


def in_gate_order(array: NDArray[Any], gates: Sequence[int]) -> NDArray[Any]:
    """Return weights (ways, gates x hidden, ...), or both biases side by side, in torch's order."""
    ways, halves = len(array), 1 if array.ndim == 3 else 2
    cut = array.reshape(ways, halves, len(gates), -1, *array.shape[2:])
    return np.ascontiguousarray(cut[:, :, list(gates)].reshape(array.shape))
