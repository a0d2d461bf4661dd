"""A convolution as a dense product of the rows and columns of its weight that are not zero."""

import torch
from torch import Tensor
from torch.nn import functional as F

from wieldy.graph.structures import by_group


def kept(weight: Tensor, groups: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Return, for each group of a convolution, the rows and the columns that are not zero.

    Example:
        >>> ((rows, columns),) = kept(torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
        >>> rows.tolist(), columns.tolist()
        ([1], [1])
    """
    parts = (part.flatten(1) != 0 for part in by_group(weight, groups))
    return [(part.any(1).nonzero()[:, 0], part.any(0).nonzero()[:, 0]) for part in parts]


def kept_convolution(
    x: Tensor,
    weight: Tensor,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Return a convolution as a dense product of the rows and columns that are not zero.

    Only the kept columns of what is multiplied are laid out; rows that are zero stay so in the result.

    Args:
        x: (n, inputs, h, w).
        weight: (outputs, inputs / groups, kh, kw).
        stride, padding, dilation, groups: as torch.conv2d.
    """
    kernel, size = weight.shape[2:], x.shape[2:]
    height, width = (
        (size[k] + 2 * padding[k] - dilation[k] * (kernel[k] - 1) - 1) // stride[k] + 1 for k in (0, 1)
    )
    wide = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    out = x.new_zeros(len(weight), len(x), height, width)
    parts = zip(by_group(weight, groups), kept(weight, groups), strict=True)
    for index, (part, (rows, columns)) in enumerate(parts):
        places = [index * part.shape[1] * kernel.numel() + int(column) for column in columns]
        seen = [
            wide[:, place // kernel.numel(), top:, left:][:, :: stride[0], :: stride[1]][:, :height, :width]
            for place in places
            for top, left in [(place // kernel[1] % kernel[0] * dilation[0], place % kernel[1] * dilation[1])]
        ]
        if seen and len(rows):
            product = part.flatten(1)[rows][:, columns] @ torch.stack(seen).flatten(1)
            out[index * len(part) + rows] = product.reshape(-1, *out.shape[1:])
    return out.transpose(0, 1)
