"""A pooling window of no axis: the runtime would read numbers that are not there."""

from pathlib import Path

import torch
from forged import parts_of
from torch import nn

from wieldy.graph.trace import trace
from wieldy.package.save import pack

ERROR = "OperatorError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = parts_of(pack(trace(nn.MaxPool2d(3, 2, 1), torch.zeros(1, 1, 8, 8))))
    (node,) = parts.program["nodes"]
    node["inputs"]["dilation"] = []
    parts.write(path)
