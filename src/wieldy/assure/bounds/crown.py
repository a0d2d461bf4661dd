"""CROWN: linear bounds, carried backwards from what is asked to the inputs.

Source: Zhang, Weng, Chen, Hsieh, Daniel, "Efficient Neural Network Robustness Certification with General
Activation Functions", NeurIPS 2018, theorem 3.2, here over any graph of steps.

Asked is c v for the value v and coefficients c. A step v = A x + shift turns c into A' c; a bend turns it
into slopes of its lines, the lower ones where c is positive. What is left at the inputs is bounded by their
box.

Rounding. At every step the *computed* coefficients, taken as exact numbers, are those of the next question.
So errors do not grow from step to step: each is a sum over entries, at most

    gamma_terms |c| (|A| |x|max + |shift|)     of an affine step,
    gamma |c| (slope |x|max + |shift|)         of a bend,

with |x|max from the box of x. They are added up and taken from the bound in the end. The bound holds for the
network in real arithmetic, and for any evaluation in float64 (rounding.py); it is not one on float32, whose
rounding is 2^29 times as coarse.
"""

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from wieldy.assure.bounds.affine import Affine
from wieldy.assure.bounds.ibp import image
from wieldy.assure.bounds.relaxed import Bend, Lines, Relax, relax
from wieldy.assure.bounds.rounding import UNDERFLOW, Box, below, gamma
from wieldy.assure.bounds.steps import Steps

MOST_ENTRIES = 1 << 18  # coefficients held at a time: more no longer fit the caches
SAFETY = 1 + 2.0**-20  # what adding up the errors may itself lose, many times over


class Question:
    """Rows of coefficients on their way back, with what was settled on it: row >= settled - lost."""

    def __init__(self, value: str, rows: Tensor) -> None:
        self.rows = {value: rows}
        zeros = rows.new_zeros(len(rows))
        self._settled, self._lost, self._sizes, self._count = zeros, zeros, zeros, 0

    def settle(self, amount: Tensor) -> None:
        """Add constants, one for each row."""
        self._settled = self._settled + amount
        self._sizes = self._sizes + amount.abs()
        self._count += 1

    def lose(self, rows: Tensor, weights: Tensor, largest: Tensor) -> None:
        """Note that something may be off by |row| weights, and by what underflows where x is so large."""
        self._lost = self._lost + _dot(rows.abs(), weights) + UNDERFLOW * (1 + largest.sum())

    def ask(self, value: str, rows: Tensor, largest: Tensor) -> None:
        """Ask for a further value, or for more of one."""
        if value in self.rows:
            rows = self.rows[value] + rows
            self.lose(rows, gamma(1) * largest, largest)
        self.rows[value] = rows

    def mirror(self) -> None:
        """Ask for the negative of every row too: until a bend comes, that is the same in the negative."""
        self.rows = {value: torch.cat([rows, -rows]) for value, rows in self.rows.items()}
        self._settled = torch.cat([self._settled, -self._settled])
        self._lost, self._sizes = self._lost.repeat(2), self._sizes.repeat(2)

    def answer(self) -> Tensor:
        """Return a lower bound for every row."""
        lost = SAFETY * (self._lost + gamma(self._count + 1) * self._sizes)
        return below(self._settled - lost)  # beyond float64 both are infinite: no number, so no bound


class Backward:
    """Bounds by going back through the steps of a program, over the box of one example.

    Args:
        steps: of a program.
        boxes: sound boxes of its values; better ones may be put in their place at any time before use.
        lines: how bends are relaxed; None: not at all, their boxes are taken instead.
    """

    def __init__(self, steps: Steps, boxes: Mapping[str, Box], lines: Relax | None = relax) -> None:
        self._steps, self._boxes, self._relax = steps, boxes, lines
        self._lines: dict[str, Lines] = {}
        self._weights: dict[str, Tensor] = {}

    def lower(self, value: str, rows: Tensor) -> Tensor:
        """Return (m,) lower bounds on the (m, ...) rows times a value."""
        return self._answers(value, rows, mirrored=False)

    def between(self, value: str, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return (m,) lower and upper bounds on the (m, ...) rows times a value."""
        low, high = self._answers(value, rows, mirrored=True).chunk(2)
        return low, -high

    def _answers(self, value: str, rows: Tensor, *, mirrored: bool) -> Tensor:
        question = Question(value, rows)
        for name, step in reversed(tuple(self._steps.steps.items())):
            if name not in question.rows:
                continue
            if isinstance(step, Affine):
                self._through_affine(name, step, question)
            elif self._relax is not None:
                if mirrored:
                    question.mirror()
                    mirrored = False
                self._through_bend(name, step, question)
        if mirrored:
            question.mirror()
        for name in tuple(question.rows):
            _over_box(question, question.rows.pop(name), self._boxes[name])
        return question.answer()

    def _through_affine(self, name: str, step: Affine, question: Question) -> None:
        rows = question.rows.pop(name)
        largest = [self._boxes[source].largest for source in step.sources]
        if step.shift is not None:
            question.settle(_dot(rows, step.shift))
        if step.terms:
            if name not in self._weights:
                shift = torch.zeros(()) if step.shift is None else step.shift.abs()
                lost = gamma(step.terms) * step.reach(*largest)
                self._weights[name] = lost + gamma(prod(rows.shape[1:]) + 2) * shift
            question.lose(rows, self._weights[name], torch.stack([of.sum() for of in largest]))
        for source, pulled, most in zip(step.sources, step.pull(rows), largest, strict=True):
            question.ask(source, pulled, most)

    def _through_bend(self, name: str, step: Bend, question: Question) -> None:
        rows, (source,) = question.rows.pop(name), step.sources
        box = self._boxes[source]
        if name not in self._lines:
            assert self._relax is not None
            self._lines[name] = self._relax(step, box)
            self._weights[name] = _lost_on(self._lines[name], box)
        lines = self._lines[name]
        gap = lines.low_shift - lines.high_shift  # positive coefficients meet the lower line
        question.settle(_dot(rows, lines.high_shift) + _dot(rows.clamp(min=0), gap))
        question.lose(rows, self._weights[name], box.largest)
        question.ask(source, _pulled(rows, lines, box), box.largest)


def refined(steps: Steps, inputs: Mapping[str, Box], lines: Relax = relax) -> tuple[dict[str, Box], int]:
    """Return the boxes of all values, where what goes into a bend is bounded by CROWN and by intervals.

    Only entries whose bend is undecided are asked for: for the others no line depends on the box.

    Args:
        steps: of a program.
        inputs: boxes of its inputs, of one example.
        lines: how bends are relaxed.

    Returns:
        Boxes by value, and how many multiply-adds they took.

    Cost: for every undecided entry, two passes back to the inputs.
    """
    boxes, spent = dict(inputs), 0
    back = Backward(steps, boxes, lines)
    for name, step in steps.steps.items():
        if name in steps.asking:
            assert not isinstance(step, Affine)
            (source,) = step.sources
            asked = step.undecided(boxes[source])
            spent += 2 * int(asked.sum()) * steps.macs[source]
            boxes[source] = _asked(back, source, boxes[source], asked)
        boxes[name] = image(step, boxes)
    return boxes, spent


def _asked(back: Backward, value: str, box: Box, asked: Tensor) -> Box:
    """Return a box that is better in the entries that are asked for."""
    entries = asked.flatten().nonzero()[:, 0]
    low, high = box.low.flatten().clone(), box.high.flatten().clone()
    for some in torch.split(entries, max(1, MOST_ENTRIES // box.low.numel())):
        rows = torch.zeros(len(some), len(low), dtype=torch.float64)
        rows[torch.arange(len(some)), some] = 1
        rows = rows.reshape(-1, *box.low.shape[1:])
        least, most = back.between(value, rows)
        low[some], high[some] = torch.maximum(low[some], least), torch.minimum(high[some], most)
    return Box(low.reshape(box.low.shape), high.reshape(box.low.shape))


def _dot(rows: Tensor, weights: Tensor) -> Tensor:
    """(m, ...) times (...) or (1, ...): (m,)."""
    return rows.flatten(1) @ weights.expand(1, *rows.shape[1:]).flatten()


def _pulled(rows: Tensor, lines: Lines, box: Box) -> Tensor:
    """Coefficients of what goes into a bend."""
    if lines.entries is None:
        return rows * torch.where(rows > 0, lines.low_slope, lines.high_slope)
    flat, found = rows.flatten(1), rows.new_zeros(len(rows), box.low[0].numel())
    for entries, low, high in zip(lines.entries.T, lines.low_slope.T, lines.high_slope.T, strict=True):
        found.index_add_(1, entries, flat * torch.where(flat > 0, low, high))
    return found.reshape(-1, *box.low.shape[1:])


def _lost_on(lines: Lines, box: Box) -> Tensor:
    """What rounding may cost on the way through a bend, for each unit of coefficient."""
    steepest = torch.maximum(lines.low_slope.abs(), lines.high_slope.abs())
    highest = torch.maximum(lines.low_shift.abs(), lines.high_shift.abs())
    if lines.entries is None:
        moved = gamma(1) * steepest * box.largest
    else:
        several = lines.entries.shape[1]  # an entry of the source is in as many windows at most
        each = gamma(several + 1) * steepest * box.largest.flatten()[lines.entries]
        moved = each.sum(-1).reshape(highest.shape)
    return moved + gamma(2 * highest.numel() + 6) * highest


def _over_box(question: Question, rows: Tensor, box: Box) -> None:
    """Settle what rows times anything in a box are at least: at its centre, less |rows| times its radius."""
    centre, radius = box.centred()
    question.settle(_dot(rows, centre) - _dot(rows.abs(), radius))
    question.lose(rows, gamma(2 * centre.numel() + 4) * (centre.abs() + radius), box.largest)
