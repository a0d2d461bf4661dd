"""Corruptions: pictures stay pictures, more severe is more changed, and what they cost is counted right."""

import math
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wieldy.assure.corruptions import (
    CORRUPTIONS,
    ELASTIC,
    IMPULSES,
    NOISE,
    PHOTONS,
    QUALITY,
    SEVERITIES,
    evidence,
    level,
)
from wieldy.assure.pair import Pair, opened
from wieldy.core.data import Data, Metric
from wieldy.core.records import Evidence
from wieldy.graph.trace import trace
from wieldy.package.save import save
from wieldy.zoo.data import fashion

pytest.importorskip("kornia")

NAMES = sorted(CORRUPTIONS)
DRAWN = {
    "gaussian noise", "shot noise", "impulse noise", "glass blur", "motion blur", "snow", "frost", "fog",
    "elastic",
}  # fmt: skip
WHITENING = ("snow", "frost", "fog", "brightness")
SHAPES = [(3, 1, 8, 8), (2, 3, 28, 28), (2, 1, 33, 20), (1, 3, 9, 70)]


def corrupted(name: str, pixels: Tensor, severity: int, seed: int = 0) -> Tensor:
    return CORRUPTIONS[name](pixels, severity, torch.Generator().manual_seed(seed))


def grey(count: int = 48) -> Tensor:
    """Clothes, 28x28."""
    inputs = fashion.embedded().test.inputs[:count]
    return torch.from_numpy(inputs * fashion.STD + fashion.MEAN).clamp(0, 1)


def coloured(count: int, side: int) -> Tensor:
    """Pictures with the spectrum of natural ones: amplitudes fall as 1 / frequency; channels go together."""
    draw = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    shared, own = (np.fft.rfft2(draw.normal(size=(count, n, side, side))) / frequency for n in (1, 3))
    made = np.fft.irfft2(shared + 0.5 * own, s=(side, side))
    made = 0.5 + 0.2 * made / made.std(axis=(1, 2, 3), keepdims=True)
    return torch.from_numpy(made.clip(0, 1).astype(np.float32))


def test_there_are_fifteen() -> None:
    assert len(CORRUPTIONS) == 15
    assert set(SEVERITIES) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_pictures_stay_pictures_of_their_shape(name: str, shape: tuple[int, ...]) -> None:
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    kept = pixels.clone()
    for severity in SEVERITIES:
        found = corrupted(name, pixels, severity)
        assert found.shape == pixels.shape
        assert found.dtype == torch.float32
        assert found.isfinite().all()
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        assert not torch.equal(found, pixels)
    assert torch.equal(pixels, kept)


@pytest.mark.parametrize("name", NAMES)
def test_chance_comes_from_the_generator_alone(name: str) -> None:
    pixels = coloured(2, 16)
    found = []
    for seed, around in ((3, 0), (3, 1), (4, 0)):
        torch.manual_seed(around)
        before = torch.get_rng_state()
        found.append(corrupted(name, pixels, 3, seed))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2]) == (name not in DRAWN)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", ["grey, 28", "coloured, 32", "coloured, 64"])
def test_a_higher_severity_changes_more(name: str, which: str) -> None:
    pixels = {"grey, 28": grey(), "coloured, 32": coloured(12, 32), "coloured, 64": coloured(6, 64)}[which]
    changes = [float((corrupted(name, pixels, severity) - pixels).abs().mean()) for severity in SEVERITIES]
    assert changes == sorted(set(changes))  # each above the one before
    assert changes[0] > 0.001


@pytest.mark.parametrize("name", NAMES)
def test_what_is_in_a_picture_is_still_seen_at_the_highest_severity(name: str) -> None:
    pixels = grey()
    found = corrupted(name, pixels, 5)
    both = torch.stack([pixels.flatten(1), found.flatten(1)])
    middle = both - both.mean(dim=2, keepdim=True)
    correlation = (middle[0] * middle[1]).sum(dim=1) / middle.norm(dim=2).prod(dim=0)
    assert float(correlation.median()) > 0.45


@pytest.mark.parametrize("name", sorted(DRAWN - {"glass blur", "elastic"}))
def test_every_picture_is_corrupted_in_its_own_way(name: str) -> None:
    pixels = grey(1).expand(2, -1, -1, -1)
    one, two = corrupted(name, pixels, 3)
    assert float((one - two).abs().mean()) > 1e-3


@pytest.mark.parametrize(
    "blur", ["defocus blur", "glass blur", "motion blur", "zoom blur", "elastic", "pixelate"]
)
def test_nothing_is_blurred_or_moved_where_all_is_alike(blur: str) -> None:
    pixels = torch.full((2, 3, 24, 30), 0.25)
    for severity in SEVERITIES:
        torch.testing.assert_close(corrupted(blur, pixels, severity), pixels, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", WHITENING)
def test_weather_and_light_brighten_the_dark(name: str) -> None:
    pixels = torch.full((4, 1, 28, 28), 0.1)
    pixels[:, :, 0, 0] = 1  # fog is as bright as the brightest pixel
    means = [float(corrupted(name, pixels, severity).mean()) for severity in SEVERITIES]
    assert means == sorted(means)
    assert means[0] > float(pixels.mean())


def test_noise_has_the_spread_that_its_severity_says() -> None:
    pixels = torch.full((8, 1, 32, 32), 0.5)
    for severity in SEVERITIES:
        found = corrupted("gaussian noise", pixels, severity)
        assert float(found.std()) == pytest.approx(NOISE[0][severity - 1], rel=0.05)
        found = corrupted("shot noise", pixels, severity)
        assert float(found.var()) == pytest.approx(0.5 / PHOTONS[0][severity - 1], rel=0.1)
        found = corrupted("impulse noise", pixels, severity)
        share = IMPULSES[0][severity - 1]
        for value in (0, 1):
            assert float((found == value).float().mean()) == pytest.approx(share / 2, rel=0.35)
        assert float((found == 0.5).float().mean()) == pytest.approx(1 - share, rel=0.02)


def test_photons_leave_black_as_it_is() -> None:
    assert not corrupted("shot noise", torch.zeros(1, 1, 16, 16), 5).any()


def test_glass_moves_pixels_but_a_little() -> None:
    pixels = torch.zeros(64, 1, 28, 28)
    pixels[:, :, 14, 14] = 1
    found = corrupted("glass blur", pixels, 5)
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), torch.ones(64), atol=1e-3, rtol=0)
    y, x = torch.meshgrid(torch.arange(28) - 14, torch.arange(28) - 14, indexing="ij")
    reach = 1 + 0.045 * 28 + 4  # and what two small blurs spread
    assert not found[:, 0, torch.maximum(y.abs(), x.abs()) > reach].any()
    assert len({int(one.argmax()) for one in found}) > 5


def test_motion_is_along_one_line() -> None:
    pixels = torch.zeros(32, 1, 65, 65)
    pixels[:, :, 32, 32] = 1
    found = corrupted("motion blur", pixels, 5)[:, 0]
    steps = torch.arange(65.0) - 32
    y, x = steps[:, None], steps[None, :]
    spread_x, spread_y = ((found * (s**2)).sum(dim=(1, 2)) for s in (x, y))
    product = (found * x * y).sum(dim=(1, 2))
    # eigenvalues of the matrix of second moments: long along the line, short across it
    half, root = (spread_x + spread_y) / 2, (((spread_x - spread_y) / 2) ** 2 + product**2).sqrt()
    assert (half + root > 5 * (half - root)).all()
    assert float((half + root).max()) < 1.3 * float((half + root).min())  # as long in every direction
    assert (spread_x > spread_y - 0.05).all()  # within 45 degrees of level
    assert float(product.min()) < -0.1 < 0.1 < float(product.max())


def test_elastic_moves_along_both_axes_by_what_its_severity_says() -> None:
    ramp = torch.linspace(0, 1, 48).expand(24, 1, 48, 48)
    for pixels in (ramp, ramp.mT):
        moved = 47 * (corrupted("elastic", pixels, 3) - pixels)[:, :, 12:-12, 12:-12]
        assert float(moved.square().mean().sqrt()) == pytest.approx(ELASTIC[2] * 48, rel=0.15)


def test_pixels_of_a_block_are_one() -> None:
    pixels = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    found = corrupted("pixelate", pixels, 5)[0, 0]  # blocks of 3.2: rows 0, 1 and 2 are of the first alone
    torch.testing.assert_close(found[0, :3], found[0, :1].expand(3))
    torch.testing.assert_close(found[:3, 0], found[:1, 0].expand(3))
    assert float(found.mean()) == pytest.approx(float(pixels.mean()), abs=1e-5)


def test_contrast_keeps_the_mean_and_brightness_the_differences() -> None:
    pixels = 0.3 + 0.2 * torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for severity in SEVERITIES:
        flat = corrupted("contrast", pixels, severity)
        torch.testing.assert_close(flat.mean(dim=(1, 2, 3)), pixels.mean(dim=(1, 2, 3)))
        bright = corrupted("brightness", pixels, severity)
        torch.testing.assert_close(bright - bright.amin(), pixels - pixels.amin())


@pytest.mark.parametrize("name", ["jpeg", "contrast", "defocus blur", "zoom blur", "elastic", "fog"])
def test_grey_is_corrupted_alike_in_one_channel_and_in_three(name: str) -> None:
    pixels = grey(4)
    one, three = (corrupted(name, x, 4) for x in (pixels, pixels.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(three, one.expand(-1, 3, -1, -1), atol=5e-3, rtol=0)  # 5e-3: JPEG's chroma


def test_frost_is_blue_and_snow_is_white() -> None:
    pixels = torch.full((2, 3, 32, 32), 0.2)
    red, _, blue = corrupted("frost", pixels, 5).mean(dim=(0, 2, 3))
    assert blue > red + 0.01
    red, _, blue = corrupted("snow", pixels, 5).mean(dim=(0, 2, 3))
    assert float(red) == pytest.approx(float(blue), abs=1e-5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_published_severities_hold_at_their_sides_and_beyond(severity: int) -> None:
    for rows in (NOISE, QUALITY):
        small, large = (row[severity - 1] for row in rows)
        for side, expected in ((8, small), (32, small), (224, large), (600, large)):
            assert level(rows, severity, side) == pytest.approx(expected)
        middle = level(rows, severity, round(math.sqrt(32 * 224)))
        assert middle == pytest.approx(math.sqrt(small * large), rel=0.01)


@given(side=st.integers(8, 1000), severity=st.integers(1, 4))
def test_severities_keep_their_order_at_every_side(side: int, severity: int) -> None:
    assert level(NOISE, severity, side) < level(NOISE, severity + 1, side)
    assert level(QUALITY, severity, side) > level(QUALITY, severity + 1, side)
    assert level(NOISE, severity, side) <= level(NOISE, severity, side + 1)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    severity=st.sampled_from(SEVERITIES),
    count=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    value=st.sampled_from([0.0, 1.0, None]),
)
def test_any_size_and_extreme_pictures_stay_in_range(
    name: str, severity: int, count: int, channels: int, height: int, width: int, value: float | None
) -> None:
    pixels = torch.rand((count, channels, height, width), generator=torch.Generator().manual_seed(0))
    pixels = pixels if value is None else torch.full_like(pixels, value)
    found = corrupted(name, pixels, severity)
    assert found.shape == pixels.shape
    assert found.isfinite().all()
    assert ((found >= 0) & (found <= 1)).all()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The digits' network, and the same with noise in its weights."""
    folder, network, noisy = tmp_path_factory.mktemp("corrupted"), tiny.trained(), tiny.trained()
    torch.manual_seed(0)
    with torch.no_grad():
        noisy.tensor("conv2.weight").add_(torch.randn_like(noisy.tensor("conv2.weight")), alpha=0.2)
    found = {"original": network, "noisy": noisy}
    return {name: save(module, folder / f"{name}.wieldy") for name, module in found.items()}


@pytest.fixture(scope="module")
def pairs(files: dict[str, Path]) -> dict[str, Pair]:
    return {name: opened(path, files["original"], tiny.digits()) for name, path in files.items()}


@pytest.fixture(scope="module")
def noisy(pairs: dict[str, Pair]) -> Evidence:
    return evidence(pairs["noisy"], 60)


def test_a_network_loses_nothing_against_itself(pairs: dict[str, Pair]) -> None:
    found = evidence(pairs["original"], 60)
    assert found.verdict == "proved"
    drop = found.numbers["mean"]["drop_points"]
    assert (drop["low"], drop["value"], drop["high"]) == (0, 0, 0)
    assert all(row["original"] == row["package"] for row in found.numbers["rows"])
    assert found.numbers["mean"]["original"] < found.numbers["clean"]["original"]


def test_noise_in_the_weights_is_refuted(noisy: Evidence) -> None:
    assert noisy.kind == "corruptions"
    assert noisy.verdict == "refuted"
    assert noisy.numbers["mean"]["drop_points"]["low"] > 1


def test_the_allowance_decides_between_the_three_verdicts(pairs: dict[str, Pair], noisy: Evidence) -> None:
    drop = noisy.numbers["mean"]["drop_points"]
    cases = ((drop["value"], "proved"), (drop["value"] - 1e-6, "unknown"), (drop["low"] - 1e-6, "refuted"))
    for allowed, verdict in cases:
        found = evidence(pairs["noisy"], 60, max_drop_points=allowed)
        assert (found.verdict, found.numbers) == (verdict, noisy.numbers)
        assert f"{allowed:g} points" in found.claim


def test_figures_add_up(noisy: Evidence) -> None:
    rows, mean = noisy.numbers["rows"], noisy.numbers["mean"]
    assert [row["corruption"] for row in rows] == list(CORRUPTIONS)
    for side in ("original", "package"):
        assert all(len(row[side]) == len(SEVERITIES) for row in rows)
        assert np.mean([row[side] for row in rows]) == pytest.approx(mean[side])
    for row in (*rows, mean):
        lost = 100 * (np.mean(row["original"]) - np.mean(row["package"]))
        assert row["drop_points"]["value"] == pytest.approx(lost)
        assert row["drop_points"]["low"] <= lost + 1e-9
        assert lost - 1e-9 <= row["drop_points"]["high"]
    assert Evidence.from_json(noisy.to_json()) == noisy


def test_accuracy_is_that_of_the_runtime_on_corrupted_inputs(pairs: dict[str, Pair], noisy: Evidence) -> None:
    pair, number = pairs["noisy"], 60
    sample = pair.sample(number)
    pixels = torch.from_numpy((sample.inputs + 1) / 2)  # digits lie between -1 and 1
    for name in ("brightness", "pixelate", "contrast"):  # nothing is drawn
        row = noisy.numbers["rows"][list(CORRUPTIONS).index(name)]
        for side, run in zip(("original", "package"), pair.run, strict=True):
            for severity in SEVERITIES:
                outputs = run((2 * corrupted(name, pixels, severity) - 1).numpy())
                right = (outputs.argmax(axis=1) == sample.targets).mean()
                assert row[side][severity - 1] == pytest.approx(right)
    assert noisy.numbers["clean"]["package"] == (sample.after.argmax(axis=1) == sample.targets).mean()
    assert noisy.numbers["examples"] == number


def test_the_same_seed_gives_the_same_evidence(
    files: dict[str, Path], pairs: dict[str, Pair], noisy: Evidence
) -> None:
    torch.manual_seed(5)
    assert evidence(pairs["noisy"], 60).to_json() == noisy.to_json()
    other = opened(files["noisy"], files["original"], tiny.digits(), seed=1)
    assert evidence(other, 60).numbers["rows"] != noisy.numbers["rows"]


def test_what_is_no_picture_or_no_class_is_not_measured(files: dict[str, Path], tmp_path: Path) -> None:
    flat = save(trace(tiny.plain(), torch.zeros(1, 4)), tmp_path / "flat.wieldy")
    rows = np.zeros((20, 4), np.float32), np.arange(20) % 3
    found = evidence(opened(flat, flat, Data(rows, rows, rows)), 10)
    assert (found.verdict, found.measured) == ("unknown", False)
    assert "no pictures" in found.numbers["reason"]
    near = Metric(name="near", scores=lambda out, to: -np.abs(out - to).mean(axis=1), labels=False)
    pictures = np.zeros((20, 1, 8, 8), np.float32), np.zeros((20, 10), np.float32)
    original = files["original"]
    found = evidence(opened(original, original, Data(pictures, pictures, pictures, metric=near)), 10)
    assert (found.verdict, found.measured) == ("unknown", False)
    assert "class labels" in found.numbers["reason"]
