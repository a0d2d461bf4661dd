"""Several processes under torchrun take the steps that one would take, and end with a word if one is lost."""

import sys
from pathlib import Path

import pytest
import ranked
import torch
from torch import Tensor
from torchrun import begun, ended

from wieldy.train.fit import fit
from wieldy.train.ranks import FrozenNorms, Ranks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gloo's loopback is set up for Linux here")
HERE = Path(__file__).parent


CASES = ("plain", "frozen", "live", "unused", "kept", "kept")


def torchrun(folder: Path, *cases: str, world: int = 2) -> tuple[int, str]:
    code, _, error = ended(begun(HERE / "ranked.py", folder, *cases, world=world, paths=(HERE, HERE.parent)))
    return code, error


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights that each of two processes has after each case."""
    folder = tmp_path_factory.mktemp("pair")
    code, error = torchrun(folder, *CASES)
    assert code == 0, error
    return folder


def states(folder: Path, place: int, *, world: int = 2) -> list[dict[str, Tensor]]:
    return [torch.load(folder / f"{place}-{CASES[place]}-{rank}.pt") for rank in range(world)]


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_ten_steps_are_those_of_one_process(pair: Path, tmp_path: Path) -> None:
    code, error = torchrun(tmp_path, "plain", world=3)
    assert code == 0, error
    found = states(pair, 0) + states(tmp_path, 0, world=3)
    alone = fit(ranked.net(), ranked.few(), config=ranked.TEN).state_dict()
    assert furthest(alone, ranked.net().state_dict()) > 0.01  # it did train
    assert all(furthest(state, alone) < 1e-5 for state in found)
    assert furthest(found[0], found[1]) == 0
    assert furthest(found[2], found[4]) == 0


def test_frozen_norms_make_no_difference_and_stay_as_they_are(pair: Path) -> None:
    network = ranked.net(norms=True)
    alone = fit(network, ranked.few(), FrozenNorms(), config=ranked.TEN).state_dict()
    assert furthest(states(pair, 1)[1], alone) < 1e-5
    assert torch.equal(alone["1.running_mean"], network.state_dict()["1.running_mean"])


@pytest.mark.parametrize("place", [2, 3], ids=["live norms", "a parameter that nothing reads"])
def test_all_end_with_the_same_weights_and_statistics(pair: Path, place: int) -> None:
    one, other = states(pair, place)
    assert furthest(one, other) == 0


def test_what_the_first_process_kept_is_handed_to_all(pair: Path) -> None:
    whole, _ = states(pair, 4)
    assert len(list(pair.glob("*.safetensors"))) == 1
    assert all(furthest(whole, state) == 0 for state in states(pair, 5))


def test_a_process_that_is_killed_ends_all_with_a_word(tmp_path: Path) -> None:
    code, error = torchrun(tmp_path, "killed")
    assert code != 0
    assert "RankError: rank 0: another process of this training is gone" in error
    assert not list(tmp_path.glob("*.pt"))


def test_a_process_that_torchrun_ends_leaves_a_word_too(tmp_path: Path) -> None:
    code, error = torchrun(tmp_path, "terminated")
    assert code != 0
    assert (
        "RankError: rank 1: another process of this training is gone (torchrun ended this one too)" in error
    )


def test_processes_that_are_handed_other_batches_are_refused(tmp_path: Path) -> None:
    code, error = torchrun(tmp_path, "differing")
    assert code != 0
    assert "every process must be handed the same batches" in error


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_parts_cover_a_batch_once_and_their_weights_are_their_shares(size: int, world: int) -> None:
    together = Ranks()
    weighed = []
    for rank in range(world):
        together.rank, together.world = rank, world
        weight = together.weight(size)
        examples = list(range(size))[together.part(size)]
        assert examples  # whoever computes nothing would leave the others waiting
        weighed += [(example, weight / len(examples)) for example in examples if weight]
    assert sorted(example for example, _ in weighed) == list(range(size))
    assert all(share == pytest.approx(world / size) for _, share in weighed)


def test_alone_there_is_nothing_to_wait_for() -> None:
    together = Ranks()
    assert (together.rank, together.world, together.first) == (0, 1, True)
    assert together.from_first(lambda: 5) == 5
    network = ranked.net()
    assert together.wrapped(network) is network
