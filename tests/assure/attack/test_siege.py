"""What falls is what the saved file gets wrong; it stays down; chance is the same for every network."""

from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from wieldy.assure.attack.search import Effort, Outcome, Subject, attacked
from wieldy.assure.attack.twin import BATCH, Seen, Twin
from wieldy.assure.pair import Run
from wieldy.assure.pixels import Pixels
from wieldy.core.data import Rows
from wieldy.graph.tensors import as_rows, tensors

HALVES = Pixels(np.float32([0.5]), np.float32([0.5]), "")
RADII = (0.02, 0.05, 0.1)
EFFORT = Effort(pgd=4, apgd=6)


def in_torch(inputs: Rows) -> Rows:
    """A saved file that is its twin."""
    with torch.no_grad():
        return as_rows(tiny.trained()(*tensors(inputs)))


def subject(run: Run = in_torch, count: int = 70, twin: Twin | None = None) -> Subject:
    test = tiny.digits().test
    pixels, labels = HALVES.from_inputs(test.inputs[:count]), test.targets[:count]
    return Subject(
        twin or Twin(tiny.trained(), HALVES), run, HALVES, torch.from_numpy(pixels), torch.from_numpy(labels)
    )


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return attacked(subject(), RADII, EFFORT, 0)


def test_accuracy_rises_neither_with_the_strength_nor_with_the_radius(outcome: Outcome) -> None:
    found = outcome.attacked
    for epsilon in RADII:
        assert (found["pgd", epsilon] <= found["fgsm", epsilon]).all()
        assert (found["apgd", epsilon] <= found["pgd", epsilon]).all()
        assert (found["fgsm", epsilon] <= outcome.clean).all()
    for name in ("pgd", "apgd"):
        for small, large in pairwise(RADII):
            assert (found[name, large] <= found[name, small]).all()
    assert found["apgd", RADII[-1]].sum() < found["fgsm", RADII[-1]].sum() < outcome.clean.sum()


def test_what_has_fallen_is_not_attacked_again(outcome: Outcome) -> None:
    found, pgd, apgd, judged = outcome.attacked, outcome.clean, outcome.clean, len(outcome.clean)
    for epsilon in RADII:
        judged += int(outcome.clean.sum() + (found["fgsm", epsilon] & pgd).sum())
        pgd = found["pgd", epsilon]
        judged += int((pgd & apgd).sum())
        apgd = found["apgd", epsilon]
    assert outcome.judged == judged + apgd.sum()


def test_noise_is_weaker_and_the_widest_radius_leaves_nothing(outcome: Outcome) -> None:
    assert outcome.noise.sum() > outcome.attacked["fgsm", RADII[-1]].sum()
    assert (outcome.noise <= outcome.clean).all()
    assert outcome.limit.sum() == 0
    assert outcome.equal == outcome.judged > 70


def test_the_same_seed_gives_the_same_outcome_and_another_other_noise(outcome: Outcome) -> None:
    again, other = (attacked(subject(), RADII, EFFORT, seed) for seed in (0, 1))
    assert all((again.attacked[key] == outcome.attacked[key]).all() for key in outcome.attacked)
    assert (again.noise == outcome.noise).all()
    assert (other.noise != outcome.noise).any()


class Apart:
    """A saved file that answers by how far a picture is from the nearest clean one, not as its twin does."""

    def __init__(self, wrong_up_to: float) -> None:
        given = subject()
        self.clean, self.labels = HALVES.to_inputs(given.pixels.numpy()).reshape(70, -1), given.labels.numpy()
        self.wrong_up_to = 2 * wrong_up_to + 1e-6  # of inputs, which are twice as wide as pixels

    def __call__(self, inputs: Rows) -> Rows:
        apart = np.abs(np.asarray(inputs).reshape(len(inputs), 1, -1) - self.clean).max(axis=2)
        nearest, distance = apart.argmin(axis=1), apart.min(axis=1)
        wrong = (distance > 1e-6) & (distance <= self.wrong_up_to)
        return np.eye(10, dtype=np.float32)[(self.labels[nearest] + wrong) % 10]


def test_the_saved_file_decides_what_has_fallen_not_the_twin() -> None:
    found = attacked(subject(Apart(wrong_up_to=0)), RADII, EFFORT, 0)
    assert found.clean.all()
    assert all(mask.all() for mask in found.attacked.values())
    assert found.equal < 0.9 * found.judged  # the twin fell


def test_what_has_fallen_at_a_small_radius_stays_down_at_a_larger_one() -> None:
    found = attacked(subject(Apart(wrong_up_to=0.02)), RADII, EFFORT, 0).attacked
    assert not found["fgsm", 0.02].any()
    assert found["fgsm", 0.05].all()  # FGSM goes to the edge, where this file is right again
    assert not any(found[name, radius].any() for name in ("pgd", "apgd") for radius in RADII)


def test_the_saved_file_is_run_on_one_number_of_pictures_only() -> None:
    sizes = set()

    def counted(inputs: Rows) -> Rows:
        sizes.add(len(np.asarray(inputs)))
        return in_torch(inputs)

    attacked(subject(counted), RADII[:1], EFFORT, 0)
    assert sizes == {BATCH}
    sizes.clear()
    attacked(subject(counted, 7), RADII[:1], EFFORT, 0)
    assert sizes == {7}


def test_what_is_wrong_from_the_start_is_not_attacked() -> None:
    class Counted(Twin):
        rows = 0

        def slope(self, pixels: Tensor, labels: Tensor) -> tuple[Seen, Tensor]:
            self.rows += len(pixels)
            return super().slope(pixels, labels)

    twin = Counted(tiny.trained(), HALVES)
    found = attacked(subject(lambda x: -np.asarray(in_torch(x)), twin=twin), RADII, EFFORT, 0)
    assert not found.clean.any()
    assert not any(mask.any() for mask in (*found.attacked.values(), found.noise, found.limit))
    assert twin.rows == 0


def test_random_points_are_the_same_whichever_examples_stand() -> None:
    class Noting(Twin):
        """Keeps the last picture of every slope, which is that of the same example."""

        def __init__(self) -> None:
            super().__init__(tiny.trained(), HALVES)
            self.noted: list[Tensor] = []

        def slope(self, pixels: Tensor, labels: Tensor) -> tuple[Seen, Tensor]:
            self.noted.append(pixels[-1])
            return super().slope(pixels, labels)

    test, effort = tiny.digits().test, Effort(pgd=1, apgd=1)
    right = np.flatnonzero(np.asarray(in_torch(test.inputs[:70])).argmax(axis=1) == test.targets[:70])
    twins = Noting(), Noting()
    for twin, wrong in zip(twins, (False, True), strict=True):
        given = subject(count=int(right[-1]) + 1, twin=twin)
        given.labels[right[0]] += wrong
        attacked(given, (0.001,), effort, 0)
    one, other = (twin.noted for twin in twins)
    assert len(one) == len(other) > 3
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
