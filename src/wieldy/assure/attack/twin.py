"""A package as a differentiable function of pixels, and how far it is from the right answer there.

The loss is the cross entropy, CE = log(1 + exp(m)), of the log-odds against the label,

    m = log sum over j != y of exp(z_j) - z_y.

CE rises with m, so both have the same signs of the gradient and the same order of points, and m is what is
climbed: where a network is sure of the label, the gradient of CE is lost in float32, and that of m is not.
Sources: gradients lost in a sure softmax, Carlini, Wagner, S&P 2017, section IV; gradients that pass through
roundings, Bengio, Leonard, Courville, arXiv 1308.3432, and Athalye, Carlini, Wagner, ICML 2018, section 4.1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wieldy.assure.pixels import Pixels
from wieldy.graph.fold import fold_norms
from wieldy.graph.network import GraphNetwork
from wieldy.package.read import Package

BATCH = 50  # pictures whose values are in memory at a time
CLEAR = 1.0  # log-odds at which a wrong answer is one for twin and artefact alike


@dataclass
class Seen:
    """What a network says of some pictures.

    Attributes:
        odds: (n,) float64, log-odds against the label: the loss.
        wrong: (n,) bool, whether another class has the largest logit.
        guess: (n,) int64, the class with the largest logit.
    """

    odds: Tensor
    wrong: Tensor
    guess: Tensor

    def at(self, rows: Tensor) -> "Seen":
        """Return what it says of the pictures at `rows`: indices, or a mask."""
        return Seen(self.odds[rows], self.wrong[rows], self.guess[rows])

    def put(self, rows: Tensor, other: "Seen") -> None:
        """Take over what is said of other pictures in the place of those at `rows`."""
        self.odds[rows], self.wrong[rows], self.guess[rows] = other.odds, other.wrong, other.guess

    def better(self, other: "Seen") -> Tensor:
        """Return (n,) bool: where this is the stronger attack, wrong rather than right, then of more loss."""
        return (self.wrong & ~other.wrong) | ((self.wrong == other.wrong) & (self.odds > other.odds))

    @property
    def clear(self) -> Tensor:
        """(n,) bool: wrong by more than rounding could mend."""
        return self.wrong & (self.odds >= CLEAR)


class Twin(nn.Module):
    """A network as a function of pixels in [0, 1], with gradients for these and for nothing else.

    Args:
        network: maps (n, channels, height, width) inputs to (n, classes) logits; put into evaluation mode.
        pixels: how pixels become its inputs.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, pixels: Pixels) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        for name, values in (("mean", pixels.mean), ("std", pixels.std)):
            self.register_buffer(name, torch.from_numpy(values)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (n, channels, height, width) pixels to (n, classes) logits."""
        logits: Tensor = self.network((pixels - self.mean) / self.std)
        return logits

    def answers(self, inputs: Tensor) -> Tensor:
        """Return the classes with the largest logits for what the network itself takes: (n,) int64."""
        with torch.no_grad():
            return torch.cat([self.network(x).argmax(dim=1) for x in torch.split(inputs, BATCH)])

    def seen(self, pixels: Tensor, labels: Tensor) -> Seen:
        """Return what the network says of pictures."""
        with torch.no_grad():
            parts = [seen_of(self(x), y) for x, y in _batches(pixels, labels)]
        return _joined(parts)

    def slope(self, pixels: Tensor, labels: Tensor) -> tuple[Seen, Tensor]:
        """Return what the network says of pictures, and the signs of the gradient of the loss at each.

        Where the gradient is no number, its sign is 0, as torch has it.

        Cost: one forward and one backward pass, without the gradients of weights.
        """
        parts, signs = [], []
        for x, y in _batches(pixels, labels):
            x = x.clone().requires_grad_()
            with torch.enable_grad():
                seen = seen_of(self(x), y)
                if seen.odds.requires_grad:
                    (slope,) = torch.autograd.grad(seen.odds.sum(), x, materialize_grads=True)
                else:  # nothing of a picture reaches the logits but by its choices
                    slope = torch.zeros_like(x)
            parts.append(Seen(seen.odds.detach(), seen.wrong, seen.guess))
            signs.append(slope.sign())
        return _joined(parts), torch.cat(signs)


def twin_of(package: Package, pixels: Pixels) -> Twin:
    """Return a twin of a package: its program in torch, with dense weights and its norms folded.

    Channels are innermost in its weights, so torch computes with them innermost, which is faster.

    Cost: one copy of the weights.
    """
    network = GraphNetwork.from_arrays(*fold_norms(package.program, package.tensors), {})
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Twin(network, pixels)


def seen_of(logits: Tensor, labels: Tensor) -> Seen:
    """Return the log-odds against the label, and the answer, of (n, classes) logits, classes >= 2.

    Example:
        >>> seen = seen_of(torch.tensor([[0.0, 3.0], [0.0, 3.0]]), torch.tensor([0, 1]))
        >>> seen.odds.tolist(), seen.wrong.tolist()
        ([3.0, -3.0], [True, False])
    """
    wide, own = logits.double(), labels[:, None]
    others = wide.scatter(1, own, -torch.inf).logsumexp(dim=1)
    guess = logits.detach().argmax(dim=1)
    return Seen(others - wide.gather(1, own)[:, 0], guess != labels, guess)


def _batches(pixels: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(pixels, BATCH), torch.split(labels, BATCH), strict=True)


def _joined(parts: list[Seen]) -> Seen:
    return Seen(*(torch.cat([getattr(part, name) for part in parts]) for name in ("odds", "wrong", "guess")))
