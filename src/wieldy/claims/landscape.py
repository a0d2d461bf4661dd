"""The loss of a network around and between two of its states: its curvature, and a curve that joins them.

Source of the curve: Garipov, Izmailov, Podoprikhin, Vetrov, Wilson, "Loss Surfaces, Mode Connectivity, and
Fast Ensembling of DNNs", NeurIPS 2018: a quadratic Bezier curve, the middle point of which is trained.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from wieldy.core import rng


def flat(network: nn.Module) -> Tensor:
    """Return all parameters, one after another."""
    return parameters_to_vector(network.parameters()).detach()


def loss_at(network: nn.Module, point: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the cross entropy of a network with other parameters."""
    names, parameters = zip(*network.named_parameters(), strict=True)
    parts = torch.split(point, [parameter.numel() for parameter in parameters])
    values = {n: part.view_as(p) for n, part, p in zip(names, parts, parameters, strict=True)}
    return F.cross_entropy(functional_call(network, values, (x,)), y)


def steepest_directions(
    network: nn.Module, x: Tensor, y: Tensor, count: int, seed: int, steps: int = 40
) -> Tensor:
    """Return (count, parameters) orthonormal: the Hessian's eigenvectors of the largest eigenvalues."""
    point = flat(network).requires_grad_()
    slope = torch.autograd.grad(loss_at(network, point, x, y), point, create_graph=True)[0]

    def product(vector: Tensor) -> Tensor:
        curved: Tensor = torch.autograd.grad(slope @ vector, point, retain_graph=True)[0]
        return curved

    return lanczos(product, len(point), steps, count, rng.derive(seed, "claims", "lanczos"))


def lanczos(product: Callable[[Tensor], Tensor], size: int, steps: int, count: int, seed: int) -> Tensor:
    """Return (count, size) the eigenvectors of a symmetric matrix's largest eigenvalues.

    Args:
        product: maps a vector to the matrix times it.
        size: of a vector.
        steps: how many products are made; the more, the closer.
        count: how many eigenvectors.
        seed: of the vector to begin with.
    """
    found = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    basis = torch.empty(steps, size)
    images = torch.empty(steps, size)
    for index in range(steps):
        for _ in range(2):  # once leaves rounding errors along what is there already
            found = found - basis[:index].T @ (basis[:index] @ found)
        basis[index] = found / found.norm()
        found = images[index] = product(basis[index])
    small = (basis @ images.T).double()
    vectors: Tensor = torch.linalg.eigh((small + small.T) / 2).eigenvectors[:, -count:]
    return vectors.T.float() @ basis


def share_within(vector: Tensor, directions: Tensor) -> float:
    """Return which share of a vector's square lies in the span of orthonormal directions."""
    return float((directions @ vector).square().sum() / vector.square().sum())


def rise(begin: nn.Module, end: nn.Module, x: Tensor, y: Tensor, seed: int, steps: int = 200) -> float:
    """Return how far above its value at the beginning the loss gets on a quadratic Bezier curve to the end.

    The curve's middle point is trained: gradients of the loss at points drawn along the curve.
    """
    draw = torch.Generator().manual_seed(rng.derive(seed, "claims", "curve"))
    a, b = flat(begin), flat(end)
    middle = ((a + b) / 2).requires_grad_()
    optimizer = torch.optim.Adam([middle], lr=1e-3)
    for _ in range(steps):
        some = torch.randint(len(x), (256,), generator=draw)
        at = float(torch.rand((), generator=draw))
        optimizer.zero_grad()
        torch.autograd.backward(loss_at(begin, on_curve(a, middle, b, at), x[some], y[some]))
        optimizer.step()
    with torch.no_grad():
        losses = [float(loss_at(begin, on_curve(a, middle, b, i / 20), x, y)) for i in range(21)]
    return max(losses) - losses[0]


def on_curve(begin: Tensor, middle: Tensor, end: Tensor, at: float) -> Tensor:
    """Return a point of the quadratic Bezier curve.

    Example:
        >>> float(on_curve(torch.tensor(0.0), torch.tensor(4.0), torch.tensor(0.0), 0.5))
        2.0
    """
    return (1 - at) ** 2 * begin + 2 * at * (1 - at) * middle + at**2 * end
