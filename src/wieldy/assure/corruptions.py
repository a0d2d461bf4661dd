"""Fifteen corruptions of pictures at five severities, and what they cost both networks.

Source: Hendrycks, Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019. Their sets are fixed files of 224x224 and 32x32 pictures; here the test pictures at
hand are corrupted, whatever their size: figures compare two networks with each other, and are no entries of a
published table.

A pair of rows holds the severities that the authors' code (github.com/hendrycks/robustness) has for 32 pixels
(`make_cifar_c.py`) and for 224 (`corruptions.py`); between these sides they are interpolated, and beyond them
the nearer row holds. Severities in a single row are ours: mostly lengths, as a share of the shorter side.
What else is not the authors': frost is a fractal, where theirs is photographs; fog is as rough at every
severity; snow and brightness do without HSV; kornia's JPEG rounds almost, not quite.
"""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from wieldy.assure.pair import Pair
from wieldy.assure.pixels import Pixels, pixels_of
from wieldy.assure.statistics import paired_mean
from wieldy.core import rng
from wieldy.core.data import ACCURACY
from wieldy.core.optional import need
from wieldy.core.records import Evidence, Verdict

Corruption = Callable[[Tensor, int, Generator], Tensor]
Row = tuple[float, float, float, float, float]  # by severity
Floats = NDArray[np.float64]
SEVERITIES = (1, 2, 3, 4, 5)
SMALL, LARGE = 32, 224  # sides that the authors' code has severities for
ALLOWED_POINTS = 1.0

NOISE: tuple[Row, Row] = (0.04, 0.06, 0.08, 0.09, 0.1), (0.08, 0.12, 0.18, 0.26, 0.38)
PHOTONS: tuple[Row, Row] = (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)
IMPULSES: tuple[Row, Row] = (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)
ZOOM: tuple[Row, Row] = (1.05, 1.1, 1.15, 1.2, 1.25), (1.1, 1.15, 1.2, 1.24, 1.3)
KEPT_IN_SNOW: tuple[Row, Row] = (0.95, 0.9, 0.9, 0.85, 0.8), (0.8, 0.7, 0.7, 0.65, 0.55)
FOG: tuple[Row, Row] = (0.2, 0.5, 0.75, 1, 1.5), (1.5, 2, 2.5, 2.5, 3)
BRIGHTER: tuple[Row, Row] = (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)
CONTRAST: tuple[Row, Row] = (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)
QUALITY: tuple[Row, Row] = (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)

DEFOCUS: Row = (0.012, 0.02, 0.028, 0.036, 0.045)  # radius of the disk, of the side, plus half a pixel
GLASS: Row = (0.01, 0.018, 0.026, 0.035, 0.045)  # how far a pixel may move, of the side, plus one pixel
GLASS_BLUR = 0.005  # deviation of what smooths before and after, of the side, plus 0.3 pixels
MOTION: Row = (0.02, 0.045, 0.07, 0.095, 0.12)  # length of the line, of the side, plus 1.4 pixels
FLAKES: Row = (0.01, 0.02, 0.03, 0.045, 0.06)  # share of the picture that snow falls on
STREAK = 0.04  # length of a falling flake, of the side, plus two pixels
FROST: Row = (0.15, 0.25, 0.35, 0.45, 0.55)  # how opaque ice is where it is thickest
ELASTIC: Row = (0.008, 0.013, 0.018, 0.023, 0.028)  # root mean square of the displacement, of the side
ELASTIC_WIDTH = 0.08  # deviation of the Gaussian that smooths the displacement, of the side
BLOCKS: Row = (1.4, 1.7, 2.1, 2.6, 3.2)  # side of a block, pixels
ZOOMS = 10  # pictures that are averaged
FROST_COLOUR = (0.85, 0.94, 1.0)


def level(rows: tuple[Row, Row], severity: int, side: int) -> float:
    """Return a severity's number for pictures of a side, between its numbers at 32 and at 224 pixels.

    small * (large / small)^t with t = log(side / 32) / log(224 / 32), cut off at 0 and 1.

    Args:
        rows: numbers by severity at 32 pixels, and at 224.
        severity: 1 to 5.
        side: the shorter one, pixels.

    Example:
        >>> [round(level(NOISE, 5, side), 3) for side in (28, 32, 84, 224, 500)]
        [0.1, 0.1, 0.194, 0.38, 0.38]
    """
    small, large = (row[severity - 1] for row in rows)
    share = math.log(min(max(side, SMALL), LARGE) / SMALL) / math.log(LARGE / SMALL)
    return float(small * (large / small) ** share)


def _gaussian_noise(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add normal noise, to every channel its own."""
    scale = level(NOISE, severity, _side(pixels))
    return (pixels + scale * torch.randn(pixels.shape, generator=generator)).clamp(0, 1)


def _shot_noise(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Count photons: Poisson, with so many for white."""
    photons = level(PHOTONS, severity, _side(pixels))
    return (torch.poisson(pixels * photons, generator=generator) / photons).clamp(0, 1)


def _impulse_noise(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Set some values to 0 and as many to 1 (kornia's version draws from torch's global generator)."""
    amount = level(IMPULSES, severity, _side(pixels))
    drawn = torch.rand(pixels.shape, generator=generator)
    return pixels.masked_fill(drawn < amount / 2, 0.0).masked_fill(drawn > 1 - amount / 2, 1.0)


def _defocus_blur(pixels: Tensor, severity: int, generator: Generator) -> Tensor:  # noqa: ARG001
    """Average over a disk whose rim counts by what it covers."""
    radius = 0.5 + DEFOCUS[severity - 1] * _side(pixels)
    y, x = _offsets(math.ceil(radius))
    return _filtered(pixels, (radius + 0.5 - torch.hypot(x, y)).clamp(0, 1)[None])


def _glass_blur(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blur a little, exchange near pixels, and blur a little again."""
    reach = 1 + GLASS[severity - 1] * _side(pixels)
    found = _smooth(pixels)
    for axis in (-1, -2):
        found = _exchanged(found, axis, reach, generator)
    return _smooth(found).clamp(0, 1)


def _smooth(pixels: Tensor) -> Tensor:
    sigma = 0.3 + GLASS_BLUR * _side(pixels)
    size = 2 * math.ceil(3 * sigma) + 1
    found: Tensor = _kornia("filters").gaussian_blur2d(pixels, (size, size), (sigma, sigma))
    return found


def _exchanged(pixels: Tensor, axis: int, reach: float, generator: Generator) -> Tensor:
    """Reorder pixels along an axis, channels together, so that none moves as far as `reach`."""
    n, _, height, width = pixels.shape
    places = torch.arange(pixels.shape[axis], dtype=torch.float32)
    places = places if axis == -1 else places[:, None]
    drawn = places + reach * torch.rand((n, 1, height, width), generator=generator)
    return pixels.gather(axis, drawn.argsort(axis).expand_as(pixels))


def _motion_blur(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Average along a line within 45 degrees of level, each picture along its own.

    kornia's lines are an odd number of pixels long, which leaves small pictures fewer than five lengths.
    """
    length = 1.4 + MOTION[severity - 1] * _side(pixels)
    return _filtered(pixels, _lines(length, _angles(len(pixels), -45, 45, generator)))


def _angles(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return torch.deg2rad(low + (high - low) * torch.rand(count, generator=generator))


def _lines(length: float, angles: Tensor) -> Tensor:
    """Return (n, k, k) kernels: lines through the middle, a pixel wide, with soft ends."""
    y, x = _offsets(math.ceil(length / 2))
    cosine, sine = angles.cos()[:, None, None], angles.sin()[:, None, None]
    along, across = (x * cosine + y * sine).abs(), (y * cosine - x * sine).abs()
    return (length / 2 + 0.5 - along).clamp(0, 1) * (1 - across).clamp(0, 1)


def _offsets(reach: int) -> tuple[Tensor, Tensor]:
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    return steps[:, None], steps[None, :]


def _filtered(pixels: Tensor, kernels: Tensor) -> Tensor:
    """Filter by one kernel for all pictures, or by one for each; each is made to sum to 1."""
    weights = kernels / kernels.sum(dim=(1, 2), keepdim=True)
    found: Tensor = _kornia("filters").filter2d(pixels, weights)
    return found.clamp(0, 1)


def _zoom_blur(pixels: Tensor, severity: int, generator: Generator) -> Tensor:  # noqa: ARG001
    """Average over what a lens sees that zooms in while the shutter is open."""
    scale = _kornia("geometry.transform").scale
    planes = pixels.flatten(0, 1)[None]  # all pictures zoom alike, so they pass as channels of one
    factors = torch.linspace(1, level(ZOOM, severity, _side(pixels)), ZOOMS)
    found = torch.zeros_like(planes)
    for factor in factors:
        found += scale(planes, factor.expand(1, 2))
    return (found / ZOOMS).reshape(pixels.shape).clamp(0, 1)


def _snow(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Whiten the scene, and let streaks of flakes fall, on every picture along its own steep line."""
    n, _, height, width = pixels.shape
    side = _side(pixels)
    grain = max(1.0, side / 64)  # pixels of a flake
    coarse = torch.randn((n, 1, math.ceil(height / grain), math.ceil(width / grain)), generator=generator)
    drawn = F.interpolate(coarse, (height, width), mode="bilinear")
    least = drawn.flatten(1).quantile(1 - FLAKES[severity - 1], dim=1)
    flakes = (drawn > least[:, None, None, None]).float()
    falling = _filtered(flakes, _lines(2 + STREAK * side, _angles(n, 45, 135, generator)))
    kept = level(KEPT_IN_SNOW, severity, side)
    white = torch.maximum(pixels, 1.5 * pixels.mean(dim=1, keepdim=True) + 0.5)
    return (kept * pixels + (1 - kept) * white + 2 * falling).clamp(0, 1)


def _frost(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Cover with ice: densest along the ridges of a fractal, and bluish where there is colour."""
    ridges = 1 - (2 * _fractal(pixels, 0.5, generator) - 1).abs()
    ice = FROST[severity - 1] * (0.25 + 0.75 * ridges**3)
    colour = torch.tensor(FROST_COLOUR if pixels.shape[1] == 3 else FROST_COLOUR[-1:])
    return (pixels + ice * (colour[:, None, None] - pixels)).clamp(0, 1)


def _fog(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add a fractal haze, and darken until white is as bright as the brightest pixel was."""
    amount = level(FOG, severity, _side(pixels))
    brightest = pixels.amax(dim=(1, 2, 3), keepdim=True)
    hazy = (pixels + amount * _fractal(pixels, 0.5, generator)) * brightest / (brightest + amount)
    return hazy.clamp(0, 1)


def _fractal(pixels: Tensor, roughness: float, generator: Generator) -> Tensor:
    """Return (n, 1, height, width) maps from 0 to 1, one for each picture, by diamonds and squares."""

    def drawn(shape: Any, **kind: Any) -> Tensor:
        return torch.rand(shape, generator=generator, **kind)

    size = (len(pixels), 1, *pixels.shape[2:])
    found: Tensor = _kornia("contrib").diamond_square(
        size, roughness, random_fn=drawn, normalize_range=(0, 1)
    )
    return found


def _brightness(pixels: Tensor, severity: int, generator: Generator) -> Tensor:  # noqa: ARG001
    """Add the same to every value."""
    found: Tensor = _kornia("enhance").adjust_brightness(pixels, level(BRIGHTER, severity, _side(pixels)))
    return found


def _contrast(pixels: Tensor, severity: int, generator: Generator) -> Tensor:  # noqa: ARG001
    """Draw every value towards the picture's mean."""
    factor = level(CONTRAST, severity, _side(pixels))
    found: Tensor = _kornia("enhance").adjust_contrast_with_mean_subtraction(pixels, factor)
    return found


def _elastic(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Move every pixel by a smooth random field, in each picture by its own.

    Normal noise under a Gaussian of deviation s has a root mean square of 1 / (2 sqrt(pi) s).
    """
    n, _, height, width = pixels.shape
    sigma = ELASTIC_WIDTH * _side(pixels)
    moved = ELASTIC[severity - 1] * _side(pixels) * 2 * math.sqrt(math.pi) * sigma
    size = 2 * math.ceil(3 * sigma) + 1
    found: Tensor = _kornia("geometry.transform").elastic_transform2d(
        pixels,
        torch.randn((n, 2, height, width), generator=generator),
        (size, size),
        (sigma, sigma),
        (2 * moved / width, 2 * moved / height),  # places run from -1 to 1
        padding_mode="reflection",
    )
    return found.clamp(0, 1)


def _pixelate(pixels: Tensor, severity: int, generator: Generator) -> Tensor:  # noqa: ARG001
    """Average over square blocks; a pixel that several blocks share shows all of them, by their shares."""
    down, right = (_blocks(size, BLOCKS[severity - 1]) for size in pixels.shape[2:])
    return (down @ pixels @ right).clamp(0, 1)


def _blocks(size: int, block: float) -> Tensor:
    """Return the (size, size) matrix that averages over blocks of `block` pixels, and spreads them again."""
    ends = (torch.arange(math.ceil(size / block) + 1) * block).clamp(max=size)
    pixels = torch.arange(size)
    shared = torch.minimum(ends[1:, None], pixels + 1) - torch.maximum(ends[:-1, None], pixels)
    shared = shared.clamp(min=0)
    return shared.T @ (shared / shared.sum(dim=1, keepdim=True).clamp(min=1e-6))


def _jpeg(pixels: Tensor, severity: int, generator: Generator) -> Tensor:  # noqa: ARG001
    """Encode and decode; a grey picture passes as three equal channels, which come back nearly equal."""
    quality = torch.tensor([level(QUALITY, severity, _side(pixels))])
    found: Tensor = _kornia("enhance").jpeg_codec_differentiable(pixels.expand(-1, 3, -1, -1), quality)
    return (found if pixels.shape[1] == 3 else found.mean(dim=1, keepdim=True)).clamp(0, 1)


def _side(pixels: Tensor) -> int:
    return min(pixels.shape[2:])


def _kornia(part: str) -> ModuleType:
    return need(f"kornia.{part}", "compress", "corrupting pictures")


# each maps (n, 1 or 3, height, width) pixels in [0, 1], sides of at least 8, to as many in [0, 1]
CORRUPTIONS: dict[str, Corruption] = {
    "gaussian noise": _gaussian_noise,
    "shot noise": _shot_noise,
    "impulse noise": _impulse_noise,
    "defocus blur": _defocus_blur,
    "glass blur": _glass_blur,
    "motion blur": _motion_blur,
    "zoom blur": _zoom_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic": _elastic,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}


def evidence(pair: Pair, most: int, *, max_drop_points: float = ALLOWED_POINTS) -> Evidence:
    """Return the accuracy of both networks, in the runtime, on the same corrupted pictures.

    An example's drop is the mean over corruptions and severities of [original right] - [package right]; its
    interval is a bootstrap over examples. A mean drop of at most `max_drop_points` proves the claim; an
    interval that lies wholly above that refutes it; between the two, `most` was too few to tell.

    Args:
        pair: opened.
        most: how many test examples are corrupted, of those that were drawn.
        max_drop_points: how many points of accuracy may be lost on average.

    Returns:
        Evidence of kind "corruptions"; not measured where targets are no labels or inputs no pictures.

    Cost: 75 runs of both networks on each example.
    """
    under = f"{len(CORRUPTIONS)} corruptions"
    claim = f"accuracy under {under} falls by at most {max_drop_points:g} points on average"
    if not pair.are_classes:
        return Evidence.not_measured("corruptions", claim, "targets are no class labels")
    of = pixels_of(pair)
    if isinstance(of, str):
        return Evidence.not_measured("corruptions", claim, of)
    before, after, _ = pair.logits()
    chosen, sample = pair.drawn[:most], pair.sample(most)
    targets = np.asarray(sample.targets)
    pixels = torch.from_numpy(of.from_inputs(np.asarray(sample.inputs)))
    clean = [float(ACCURACY.scores(side[chosen], targets).mean()) for side in (before, after)]
    right = {name: _right(pair, of, pixels, targets, name) for name in CORRUPTIONS}
    mean = _summary(np.concatenate(list(right.values()), axis=1), pair.seed)
    drop = mean["drop_points"]
    lost: Verdict = "refuted" if drop["low"] > max_drop_points else "unknown"
    return Evidence(
        kind="corruptions",
        claim=claim,
        verdict="proved" if drop["value"] <= max_drop_points else lost,
        numbers={
            "examples": len(targets),
            "severities": list(SEVERITIES),
            "clean": {"original": clean[0], "package": clean[1]},
            "rows": [_row(name, side, pair.seed) for name, side in right.items()],
            "mean": mean,
        },
        assumptions=(of.assumption, "every picture was corrupted once in each way"),
    )


def _right(pair: Pair, of: Pixels, pixels: Tensor, targets: NDArray[Any], name: str) -> Floats:
    """Return (networks, severities, examples): 1 where a network is right under a corruption, else 0."""
    found = []
    for severity in SEVERITIES:
        seed = rng.derive(pair.seed, "corruptions", name, severity)
        made = CORRUPTIONS[name](pixels, severity, Generator().manual_seed(seed))
        inputs = of.to_inputs(made.numpy())
        found.append([ACCURACY.scores(run(inputs), targets) for run in pair.run])
    return np.asarray(found).transpose(1, 0, 2)


def _row(name: str, right: Floats, seed: int) -> dict[str, Any]:
    original, package = right.mean(axis=2).tolist()
    drop = _summary(right, seed)["drop_points"]
    return {"corruption": name, "original": original, "package": package, "drop_points": drop}


def _summary(right: Floats, seed: int) -> dict[str, Any]:
    """Return both mean accuracies, and how many points are lost, with an interval over examples."""
    original, package = right.mean(axis=1)
    drop = paired_mean(100 * (original - package), seed)
    return {
        "original": float(original.mean()),
        "package": float(package.mean()),
        "drop_points": drop.model_dump(),
    }
