"""Inputs from elsewhere: told as well by the same network, and worse by one that says nothing any more."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from scipy import stats
from torch import Tensor, nn

from wieldy.assure.pair import Pair, opened
from wieldy.assure.supervise.outside import evidence, made
from wieldy.assure.supervise.scores import SCORES
from wieldy.core.data import Data, Metric
from wieldy.core.errors import ShapeError
from wieldy.core.records import Evidence
from wieldy.graph.trace import trace
from wieldy.package.save import save


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The digits' network; with a last layer of zeros; with features that go to other classes."""
    folder = tmp_path_factory.mktemp("outside")
    silent, mixed = tiny.trained(), tiny.trained()
    with torch.no_grad():
        silent.tensor("fc.weight").zero_()
        mixed.tensor("fc.weight").copy_(tiny.trained().tensor("fc.weight").roll(7, dims=1))
    found = {"original": tiny.trained(), "silent": silent, "mixed": mixed}
    return {name: save(module, folder / f"{name}.wieldy") for name, module in found.items()}


def with_outside(**outside: np.ndarray) -> Data:
    data = tiny.digits()
    return Data(data.train, data.validate, data.test, outside=outside)


def faint() -> np.ndarray:
    """Digits in grey on grey, of which the network is less sure."""
    return 0.3 * tiny.digits().test.inputs


@pytest.fixture(scope="module")
def pairs(files: dict[str, Path]) -> dict[str, Pair]:
    return {name: opened(path, files["original"], tiny.digits()) for name, path in files.items()}


def rows_of(found: Evidence) -> list[dict]:
    return [row for one in found.numbers["sets"] for row in one["scores"]]


def test_a_network_tells_as_much_as_itself(pairs: dict[str, Pair]) -> None:
    found = evidence(pairs["original"], 200)
    assert (found.kind, found.verdict) == ("outside", "proved")
    assert [one["set"] for one in found.numbers["sets"]] == ["noise", "shuffled"]
    assert all(one["examples"] == tiny.digits().test.size for one in found.numbers["sets"])
    for row in rows_of(found):
        assert row["original"] == row["package"]
        assert (row["change"]["low"], row["change"]["value"], row["change"]["high"]) == (0, 0, 0)
    assert any("far from" in line for line in found.assumptions)


@pytest.mark.parametrize("name", ["silent", "mixed"])
def test_a_network_that_tells_nothing_any_more_is_refuted(name: str, files: dict[str, Path]) -> None:
    found = evidence(opened(files[name], files["original"], with_outside(faint=faint())), 200)
    assert found.verdict == "refuted"
    assert min(row["change"]["high"] for row in rows_of(found)) < -0.02
    if name == "silent":
        assert {row["package"] for row in rows_of(found)} == {0.5}
    assert Evidence.from_json(found.to_json()) == found


def test_a_network_that_tells_more_is_proved(files: dict[str, Path]) -> None:
    found = evidence(opened(files["original"], files["silent"], with_outside(faint=faint())), 200)
    assert found.verdict == "proved"
    assert max(row["change"]["low"] for row in rows_of(found)) > 0.02


def test_what_so_few_examples_cannot_tell_is_unknown(files: dict[str, Path]) -> None:
    pair = opened(files["silent"], files["original"], with_outside(faint=faint()))
    assert {most: evidence(pair, most).verdict for most in (8, 200)} == {8: "unknown", 200: "refuted"}


def test_sets_that_the_data_names_are_what_is_looked_at(files: dict[str, Path]) -> None:
    data = with_outside(faint=faint(), black=np.full((30, 1, 8, 8), -1.0, np.float32))
    pair = opened(files["mixed"], files["original"], data)
    found = evidence(pair, 100)
    assert [(one["set"], one["examples"]) for one in found.numbers["sets"]] == [
        ("faint", 100),
        ("black", 30),
    ]
    assert not any("far from" in line for line in found.assumptions)
    inside, (black, *_) = pair.sample(100), [data.outside["black"]]
    for row in found.numbers["sets"][1]["scores"]:
        of = SCORES[row["score"]]
        for side, run, own in (
            ("original", pair.run[0], inside.before),
            ("package", pair.run[1], inside.after),
        ):
            u = stats.mannwhitneyu(of(run(black)), of(own), method="asymptotic").statistic
            assert row[side] == pytest.approx(u / (100 * 30))


def test_a_set_that_does_not_fit_is_refused(files: dict[str, Path]) -> None:
    for wrong in (np.zeros((5, 1, 8, 9), np.float32), np.zeros((5, 1, 8, 8), np.int64)):
        pair = opened(files["original"], files["original"], with_outside(letters=wrong))
        with pytest.raises(ShapeError, match=r"outside 'letters': inputs must be"):
            evidence(pair, 200)


def test_the_same_seed_gives_the_same_evidence(files: dict[str, Path], pairs: dict[str, Pair]) -> None:
    assert evidence(pairs["mixed"], 200).to_json() == evidence(pairs["mixed"], 200).to_json()
    other = opened(files["mixed"], files["original"], tiny.digits(), seed=1)
    assert evidence(other, 200).numbers != evidence(pairs["mixed"], 200).numbers


def test_what_is_made_has_the_statistics_of_what_it_is_made_from() -> None:
    draw = np.random.default_rng(0)
    inputs = draw.normal([[[[0.0]], [[5.0]]]], [[[[1.0]], [[3.0]]]], (400, 2, 6, 6)).astype(np.float32)
    inputs[:, :, 0] = 9  # an edge that shuffling breaks up
    found = made(inputs, seed=0)
    assert set(found) == {"noise", "shuffled"}
    for array in found.values():
        assert (array.shape, array.dtype) == (inputs.shape, np.float32)
    np.testing.assert_allclose(found["noise"].mean((0, 2, 3)), inputs.mean((0, 2, 3)), rtol=0.05, atol=0.05)
    np.testing.assert_allclose(found["noise"].std((0, 2, 3)), inputs.std((0, 2, 3)), rtol=0.05)
    kept, moved = (np.sort(array.reshape(400, 2, 36), axis=2) for array in (inputs, found["shuffled"]))
    np.testing.assert_array_equal(kept, moved)
    assert (found["shuffled"][:, :, 0] == 9).mean() < 0.3
    assert (found["shuffled"][0] != found["shuffled"][1]).any()


def test_features_are_shuffled_within_a_row_and_are_noise_by_feature() -> None:
    inputs = np.arange(50, dtype=np.float32).repeat(4).reshape(50, 4) * [0, 1, 10, 100]
    found = made(inputs.astype(np.float32), seed=0)
    np.testing.assert_array_equal(np.sort(found["shuffled"]), np.sort(inputs))
    assert (found["shuffled"] != inputs).any()
    assert not found["noise"][:, 0].any()
    assert found["noise"][:, 3].std() > 5 * found["noise"][:, 2].std()


class Words(nn.Module):
    """Three classes of sentences, by the mean of their words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6)
        self.classifier = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.words(x).mean(dim=1))


def test_words_are_judged_against_other_words_and_none_are_made(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = save(trace(Words().eval(), torch.zeros(2, 9, dtype=torch.int64)), tmp_path / "words.wieldy")
    draw = np.random.default_rng(0)
    inputs, others = draw.integers(0, 10, (30, 9)), draw.integers(10, 20, (25, 9))
    assert made(inputs, 0) == {}
    rows = inputs, np.arange(30) % 3
    found = evidence(opened(path, path, Data(rows, rows, rows)), 200)
    assert (found.verdict, found.measured) == ("unknown", False)
    assert "not float32" in found.numbers["reason"]
    found = evidence(opened(path, path, Data(rows, rows, rows, outside={"others": others})), 200)
    assert (found.verdict, found.measured) == ("proved", True)


def test_what_has_no_classes_is_not_measured(files: dict[str, Path]) -> None:
    near = Metric(name="near", scores=lambda out, to: -np.abs(out - to).mean(axis=1), labels=False)
    rows = np.zeros((20, 1, 8, 8), np.float32), np.zeros((20, 10), np.float32)
    found = evidence(opened(files["original"], files["original"], Data(rows, rows, rows, metric=near)), 200)
    assert (found.verdict, found.measured) == ("unknown", False)
    assert "class labels" in found.numbers["reason"]


def test_features_are_judged_too(tmp_path: Path) -> None:
    path = save(trace(tiny.plain(), torch.zeros(1, 4)), tmp_path / "flat.wieldy")
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32), np.arange(40) % 3
    found = evidence(opened(path, path, Data(rows, rows, rows)), 200)
    assert found.verdict == "proved"
    assert len(rows_of(found)) == 2 * len(SCORES)
