"""Both networks are run once over the test set, and what is kept for a closer look is what was drawn."""

from pathlib import Path

import numpy as np
import pytest
import tiny

import wieldy
from wieldy.assure.pair import opened
from wieldy.assure.pixels import Pixels, pixels_of
from wieldy.core.data import Data
from wieldy.core.errors import DataError
from wieldy.package.save import save

Loaded = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny.trained(), tmp_path_factory.mktemp("pair") / "net.wieldy")


def rows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 1, 8, 8)).astype(np.float32), rng.integers(0, 10, count)


def test_a_sample_holds_the_inputs_that_its_outputs_belong_to(path: Path) -> None:
    inputs, targets = rows(700)
    pair = opened(path, path, Data(rows(20), rows(20), (inputs, targets)))
    sample = pair.sample(100)
    np.testing.assert_array_equal(sample.inputs, inputs[pair.drawn[:100]])
    np.testing.assert_array_equal(sample.targets, targets[pair.drawn[:100]])
    np.testing.assert_allclose(sample.before, wieldy.open(path)(sample.inputs), atol=1e-5)
    assert len(set(pair.drawn.tolist())) == 700


def test_a_loader_is_sampled_as_arrays_are(path: Path) -> None:
    inputs, targets = rows(230)
    batches: Loaded = [(inputs[i : i + 50], targets[i : i + 50]) for i in range(0, 230, 50)]
    one, two = (opened(path, path, Data(rows(20), rows(20), test)) for test in ((inputs, targets), batches))
    np.testing.assert_array_equal(one.sample(40).inputs, two.sample(40).inputs)


def test_a_mask_and_a_function_name_the_same_slice(path: Path) -> None:
    inputs, targets = rows(300)
    bright = inputs.mean(axis=(1, 2, 3)) > 0
    slices = {"mask": bright, "function": lambda x, _: x.mean(axis=(1, 2, 3)) > 0}
    pair = opened(path, path, Data(rows(20), rows(20), (inputs, targets), slices=slices))
    np.testing.assert_array_equal(pair.slices["mask"], bright)
    np.testing.assert_array_equal(pair.slices["function"], bright)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.ones(9, bool), "over a test set of 10"),
        (np.ones(10), "float64"),
        (np.zeros(10, bool), "holds none"),
        (lambda x, _: np.ones(len(x)), "for a batch of 10"),
    ],
)
def test_what_is_no_slice_is_refused(path: Path, given: object, words: str) -> None:
    with pytest.raises(DataError, match=f"'mine'.*{words}"):
        opened(path, path, Data(rows(20), rows(20), rows(10), slices={"mine": given}))


def test_pixels_are_what_was_there_before_normalisation(path: Path) -> None:
    pair = opened(path, path, tiny.digits())
    pixels = pixels_of(pair)
    assert isinstance(pixels, Pixels)
    back = pixels.to_inputs(pixels.from_inputs(pair.inputs))
    np.testing.assert_allclose(back, pair.inputs, atol=1e-6)
    assert (pixels.from_inputs(pair.inputs) * 16 % 1 == 0).all()  # the digits have 17 levels


def test_without_a_normalisation_the_ends_of_the_inputs_are_black_and_white(path: Path) -> None:
    pair = opened(path, path, Data(rows(20), rows(20), rows(100)))
    pixels = pixels_of(pair)
    assert isinstance(pixels, Pixels)
    found = pixels.from_inputs(pair.inputs)
    assert (found.min(), found.max()) == (pytest.approx(0, abs=1e-6), pytest.approx(1, abs=1e-6))
    assert "no normalisation" in pixels.assumption


def test_rows_of_numbers_are_no_pictures(tmp_path: Path) -> None:
    import torch

    from wieldy.graph.trace import trace

    net = save(trace(tiny.plain(), torch.zeros(1, 4)), tmp_path / "plain.wieldy")
    x = np.zeros((20, 4), np.float32), np.arange(20) % 3
    reason = pixels_of(opened(net, net, Data(x, x, x)))
    assert isinstance(reason, str)
    assert "(4)" in reason
