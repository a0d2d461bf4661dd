"""Training that is cut off and begun again ends as if nothing had happened."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import wieldy
from wieldy.core.errors import ConfigError, StorageError
from wieldy.methods.contract import Hook, Step
from wieldy.methods.prune.zeros import ZerosConfig
from wieldy.train.distill import Distill
from wieldy.train.fit import FitConfig, fit
from wieldy.train.mask import Mask
from wieldy.zoo.data.digits import optical_digits

CONFIG = FitConfig(epochs=4, learning_rate=0.05)


class Cut(Exception):
    """Stands for a crash."""


class CutAt(Hook):
    """Raises in a step."""

    def __init__(self, index: int) -> None:
        self.index = index

    def state(self) -> dict[str, torch.Tensor]:
        return {}

    def after_step(self, step: Step) -> None:
        if step.index == self.index:
            raise Cut


def net() -> nn.Module:
    torch.manual_seed(1)
    layers = (
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(288, 10),
    )
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def data() -> wieldy.Data:
    whole = optical_digits()
    few = whole.train.take(np.arange(500))
    return wieldy.Data(few, whole.validate, whole.test)


def hooks(network: nn.Module, cut: int = -1) -> tuple[Hook, ...]:
    return Distill(network), Mask(("5",), ZerosConfig(sparsity=0.8)), CutAt(cut)


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("cut", [1, 4, 7, 15])
def test_a_training_that_was_cut_off_ends_in_the_same_bits(
    data: wieldy.Data, tmp_path: Path, cut: int
) -> None:
    network = wieldy.trace(net(), torch.zeros(1, 1, 8, 8))
    whole = fit(network, data, *hooks(network), config=CONFIG)
    with pytest.raises(Cut):
        fit(network, data, *hooks(network, cut), config=CONFIG, checkpoints=tmp_path)
    steps = data.train.steps(CONFIG.batch_size)
    assert len(list(tmp_path.iterdir())) == (1 if cut >= steps else 0)
    again = fit(network, data, *hooks(network), config=CONFIG, checkpoints=tmp_path)
    assert same(whole, again)


def test_a_training_that_had_ended_is_not_repeated(data: wieldy.Data, tmp_path: Path) -> None:
    first = fit(net(), data, CutAt(-1), config=CONFIG, checkpoints=tmp_path)
    second = fit(net(), data, CutAt(0), config=CONFIG, checkpoints=tmp_path)
    assert same(first, second)


def test_another_training_does_not_go_on_with_it(data: wieldy.Data, tmp_path: Path) -> None:
    fit(net(), data, config=CONFIG, checkpoints=tmp_path)
    other = CONFIG.model_copy(update={"learning_rate": 0.01})
    assert same(fit(net(), data, config=other, checkpoints=tmp_path), fit(net(), data, config=other))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_hook_that_cannot_say_what_it_needs_starts_over(data: wieldy.Data, tmp_path: Path) -> None:
    fit(net(), data, Hook(), config=CONFIG, checkpoints=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_flipped_byte_is_refused(data: wieldy.Data, tmp_path: Path) -> None:
    fit(net(), data, config=CONFIG, checkpoints=tmp_path)
    (path,) = tmp_path.iterdir()
    for place in (3, len(path.read_bytes()) // 2, -5):
        damaged = bytearray(path.read_bytes())
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="is damaged"):
            fit(net(), data, config=CONFIG, checkpoints=tmp_path)
        damaged[place] ^= 1
        path.write_bytes(damaged)


def test_a_folder_that_cannot_be_written_is_named(data: wieldy.Data, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not be written"):
        fit(net(), data, config=CONFIG, checkpoints=tmp_path / "a" / "b")
