"""Packages with forged contents: a sound one taken apart, altered, and packed again with digests that fit.

Each file of attacks/ has a docstring that says what is tried, `forge(path)`, which writes the file, and
`ERROR`, the error that names it. `attempt` opens a file in a process of its own and says what came of it.
"""

import importlib
import io
import json
import multiprocessing
import resource
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import byhand
import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from wieldy.core import digest
from wieldy.package.archive import NAMES, wrap
from wieldy.package.manifest import MANIFEST, PROGRAM, TENSORS
from wieldy.package.read import read
from wieldy.package.save import pack
from wieldy.runtime.engine import openvino
from wieldy.runtime.session import open as open_package

openvino()  # its import is no attack's cost
ATTACKS = sorted(Path(__file__).parent.glob("attacks/[0-9]*.py"))
MOST_SECONDS, MOST_MEGABYTES, PATIENCE_SECONDS = 2.0, 200.0, 20.0


@dataclass
class Parts:
    """The parts of a package: values that are written as JSON or tensors, or bytes taken as they are."""

    manifest: Any
    program: Any
    tensors: Any
    honest: bool = True  # whether the manifest's digests are made to fit

    def node(self, name: str) -> dict[str, Any]:
        """Return the node of that name."""
        return next(node for node in self.program["nodes"] if node["name"] == name)

    def contents(self) -> dict[str, bytes]:
        """Return each part's bytes."""
        program = self.program if isinstance(self.program, bytes) else json.dumps(self.program).encode()
        tensors = self.tensors if isinstance(self.tensors, bytes) else save_tensors(self.tensors)
        listed = self.manifest.get("parts") if isinstance(self.manifest, dict) else None
        if self.honest and isinstance(listed, dict):
            for name, data in ((PROGRAM, program), (TENSORS, tensors)):
                if name in listed:
                    listed[name] = {"sha256": digest.of_bytes(data), "bytes": len(data)}
        manifest = self.manifest if isinstance(self.manifest, bytes) else json.dumps(self.manifest).encode()
        return {MANIFEST: manifest, PROGRAM: program, TENSORS: tensors}

    def packed(self) -> bytes:
        """Return the package that they make."""
        return wrap(self.contents())

    def write(self, path: Path) -> None:
        """Write it."""
        path.write_bytes(self.packed())

    def copy(self) -> "Parts":
        """Return parts of their own, to be altered."""
        return Parts(
            json.loads(json.dumps(self.manifest)), json.loads(json.dumps(self.program)), {**self.tensors}
        )


def sound(form: str = "dense") -> bytes:
    """Return a sound package; its convolution's weight is stored in `form`."""
    network = byhand.conv_net(channels=8)
    levels = np.zeros((8, 1, 3, 3), np.float32)
    levels[:, 0, 0, 0], levels[::2, 0, 2, 1] = 63 if form.startswith("int7") else 127, -3
    tensors = {**network.tensors, "conv.weight": levels}
    return pack(byhand.ByHand(network.program, tensors), formats={"conv.weight": form})


def with_last_gap(form: str, gap: int) -> Parts:
    """Return the parts of `sound`; its convolution leaves out so many places before the last one kept."""
    parts = sound_parts(form)
    gaps = parts.tensors["conv.weight.gaps"].copy()
    gaps[-1] = gap
    parts.tensors["conv.weight.gaps"] = gaps
    return parts


def sound_parts(form: str = "dense") -> Parts:
    """Return the parts of `sound`."""
    return parts_of(sound(form))


def contents_of(package: bytes) -> dict[str, bytes]:
    """Return each part's bytes of a sound package."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        return {name: archive.read(name) for name in NAMES}


def parts_of(package: bytes) -> Parts:
    """Return the parts of a sound package."""
    contents = contents_of(package)
    return Parts(
        json.loads(contents[MANIFEST]), json.loads(contents[PROGRAM]), dict(load_tensors(contents[TENSORS]))
    )


def zipped(
    entries: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED, **fields: Any
) -> bytes:
    """Return a zip with other entries, or other fields of entries, than a package has."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr, entry.compress_type = 3, 0o644 << 16, compression
            for key, value in fields.items():
                setattr(entry, key, value)
            archive.writestr(entry, data)
    return buffer.getvalue()


def safetensors(data: bytes = b"", text: str = "", **entries: Any) -> bytes:
    """Return a safetensors file with a header that is given, or written from its entries."""
    header = (text or json.dumps(entries)).encode()
    return len(header).to_bytes(8, "little") + header + data


@dataclass(frozen=True)
class Outcome:
    """What came of opening a file: the error's class and words, or none; seconds, and the most megabytes."""

    error: str | None
    message: str
    seconds: float
    megabytes: float


def opened(path: Path) -> Outcome:
    """Read, build and compile a package in this process."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error, message = None, ""
    try:
        read(path)
        open_package(path, threads=1, batch=1)
    except Exception as caught:  # noqa: BLE001 - whatever it is, it is what came of it
        error, message = type(caught).__name__, str(caught)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Outcome(error, message, time.perf_counter() - began, most / 1024)


def attempt(path: Path) -> Outcome:
    """Do the same in a process of its own, which a crash or a hang ends."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["forged"])
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(path, theirs))
    child.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(PATIENCE_SECONDS) else Outcome("a hang", "", PATIENCE_SECONDS, 0.0)
    except EOFError:
        child.join()
        return Outcome(f"a crash ({child.exitcode})", "", 0.0, 0.0)
    finally:
        child.kill()
        child.join()


def _answer(path: Path, answer: Any) -> None:
    answer.send(opened(path))


def attack(path: Path) -> ModuleType:
    """Return the module of one attack."""
    return importlib.import_module(path.stem)
