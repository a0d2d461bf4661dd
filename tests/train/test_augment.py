"""Augmentation: seeded, and pictures keep their shape."""

import pytest
import tiny
import torch

from wieldy.train.augment import flip_and_shift
from wieldy.train.fit import FitConfig, fit, seeded

pytest.importorskip("kornia")


def pictures(count: int = 64) -> torch.Tensor:
    return torch.from_numpy(tiny.digits().train.inputs[:count])


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (3, 3, 12, 10), (1, 1, 8, 8)])
def test_shapes_are_kept(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    assert flip_and_shift(*shape[2:])(x).shape == shape


def test_one_seed_gives_one_view_and_another_seed_another() -> None:
    views, found = flip_and_shift(8, 8), []
    for seed in (1, 1, 2):
        with seeded(seed):
            found.append(views(pictures()))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_pictures_are_moved_not_made_up() -> None:
    x = pictures()
    before = x.clone()
    with seeded(0):
        found = flip_and_shift(8, 8, shift=0)(x)
    assert torch.equal(x, before)
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(found, x, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(found, x, strict=True)]
    assert all(a or b for a, b in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48  # half of 64


def test_each_shift_is_a_window_of_the_padded_picture() -> None:
    x = pictures(16)
    with seeded(0):
        found = flip_and_shift(8, 8, shift=1)(x)
    moved = 0
    for view, picture in zip(found, x, strict=True):
        windows = [
            padded[:, i : i + 8, j : j + 8]
            for side in (picture, picture.flip(2))
            for padded in [torch.nn.functional.pad(side, (1, 1, 1, 1), mode="reflect")]
            for i in range(3)
            for j in range(3)
        ]
        assert any(torch.equal(view, window) for window in windows)
        moved += not (torch.equal(view, picture) or torch.equal(view, picture.flip(2)))
    assert moved > 4


def test_training_with_it_is_reproducible() -> None:
    config = FitConfig(epochs=1, batch_size=64)
    one, two = (
        tiny.state(fit(tiny.traced(), tiny.digits(), config=config, augment=flip_and_shift(8, 8)))
        for _ in range(2)
    )
    assert one == two != tiny.state(fit(tiny.traced(), tiny.digits(), config=config))
