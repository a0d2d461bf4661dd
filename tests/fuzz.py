"""Packages that are altered at random, in bytes and in structure, until one brings down whoever opens it.

    python tests/fuzz.py [--minutes 30] [--seed 0] [--out benchmarks/results]

Hypothesis draws a package (one for each operator and each format) and a few changes of its bytes, its JSON
or its tensors, makes the digests fit again, and opens it: reads, builds, compiles and runs it. Anything but
one of our errors for bad packages is a finding: another exception, a crash, a hang of ten seconds, 500 MB. A
seed runs in a process of its own, which a crash ends; the file that it was at is kept. Writes fuzz.json with
the seeds. Leaves with 1 on a finding.
"""

import argparse
import collections
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import byhand
import forged
import numpy as np
import op_cases
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import wieldy
from wieldy.core.errors import PackageError
from wieldy.core.files import write_atomic
from wieldy.formats import FORMATS
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import OPS
from wieldy.package.read import read
from wieldy.package.save import pack
from wieldy.runtime.environment import environment
from wieldy.runtime.session import open as open_package

EXAMPLES = 400  # of a seed
HANG_SECONDS, MOST_MEGABYTES = 10.0, 500.0
MOST_ELEMENTS = 2**22  # of a value that is run: what a user's network may take is no finding
DTYPES = ("float32", "int64", "bool", "float64", "object")
HOSTILE: list[Any] = [
    None, True, -1, 0, 1, 2, 3, 255, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63), 0.5, 1e308, -0.0, "", "x",
    "x" * 1001, "\x1b[2J", "../x", [], {}, [None], [[]], [0], [-1], [1, 1], [2**62] * 2, *DTYPES, *OPS,
]  # fmt: skip


@cache
def bases() -> list[forged.Parts]:
    """Return the parts of sound packages: each operator's, and one for each format."""
    found = [forged.sound_parts(form) for form in FORMATS]
    found.append(forged.parts_of(pack(byhand.adder())))
    for name in op_cases.CASES:
        network = wieldy.trace(*op_cases.build(name))
        assert isinstance(network, GraphNetwork)
        found.append(forged.parts_of(pack(network)))
    return found


def altered(draw: random.Random) -> bytes:
    """Return a package with one to three changes, of one kind or of several."""
    parts = bases()[draw.randrange(len(bases()))].copy()
    for _ in range(draw.randint(1, 3)):
        kind = draw.choice((alter_json, alter_json, alter_json, alter_tensors))
        kind(parts, draw)
    data = parts.packed()
    return alter_bytes(data, draw) if draw.random() < 0.1 else data


def alter_json(parts: forged.Parts, draw: random.Random) -> None:
    """Put another value somewhere in the manifest or the program: a hostile one, or one that is in it."""
    root = parts.program if draw.random() < 0.8 else parts.manifest
    spots = [*spots_of(root)]
    holder, key = draw.choice(spots)
    other, other_key = draw.choice(spots)
    value = json.loads(json.dumps(draw.choice([draw.choice(HOSTILE), other[other_key], other[other_key]])))
    match draw.randrange(8):
        case 0 if isinstance(holder, list):
            holder.insert(key, value)
        case 1:
            del holder[key]
        case 2 if isinstance(holder, dict):
            holder[str(value)[:9]] = holder.pop(key)
        case _ if type(holder[key]) is int and draw.random() < 0.5:
            holder[key] += draw.choice((-1, 1, 7))
        case _:
            holder[key] = value


def spots_of(value: Any) -> Any:
    """Yield every place in a value of JSON, as what holds it and under which key."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from spots_of(value[key])


NUMBERS = (np.float32, np.float16, np.int64, np.uint32, np.uint8, np.int8, np.bool_)


def alter_tensors(parts: forged.Parts, draw: random.Random) -> None:
    """Give a stored array other numbers, another shape or another dtype."""
    if not parts.tensors:
        return
    name = draw.choice(sorted(parts.tensors))
    array = np.array(parts.tensors[name])
    match draw.randrange(5):
        case 0:
            array = array.ravel()[: draw.randint(0, array.size)]
        case 1:
            array = array.astype(draw.choice(NUMBERS))
        case 2:
            array = array.reshape(-1, *array.shape[:0:-1]) if array.ndim > 1 and array.size else array[None]
        case _ if array.size:
            bits = np.frombuffer(draw.randbytes(array.itemsize), array.dtype)
            value = draw.choice((0, 1, 255, bits[0]))
            array.ravel()[draw.randrange(array.size)] = np.array(value).astype(array.dtype)
        case _:
            array = np.zeros(3, array.dtype)
    parts.tensors[name] = np.ascontiguousarray(array) if array.ndim else array


def alter_bytes(data: bytes, draw: random.Random) -> bytes:
    """Change, cut, double or add bytes of the file."""
    begin = draw.randrange(len(data))
    end = min(len(data), begin + draw.choice((1, 1, 4, 64)))
    new = draw.choice((b"", draw.randbytes(end - begin), data[begin:end] * 2, b"\xff" * (end - begin)))
    return data[:begin] + new + data[end:]


def outcome(path: Path) -> str:
    """Open a package and run it; return what came of it. Anything but a PackageError is raised."""
    try:
        package = read(path)
        sizes = [node.shape for node in package.program.nodes]
        if max((int(np.prod([size or 2 for size in shape])) for shape in sizes), default=0) > MOST_ELEMENTS:
            return "sound and large"
        run = open_package(path, threads=1, batch=2)
        inputs = package.program.inputs.values()
        run(*(np.ones((2, *spec.shape[1:]), spec.dtype) for spec in inputs))  # type: ignore[arg-type]
    except PackageError as error:
        if str(path) not in str(error):
            raise AssertionError(f"names no file: {error}") from error
        return type(error).__name__
    return "sound"


def explore(number: int, examples: int, path: Path) -> collections.Counter[str]:
    """Open so many altered packages of a seed, one after the other at `path`."""
    found: collections.Counter[str] = collections.Counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @seed(number)
    @settings(
        max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def one(draw: random.Random) -> None:
        path.write_bytes(altered(draw))
        began = time.perf_counter()
        found[outcome(path)] += 1
        seconds = time.perf_counter() - began
        megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert seconds < HANG_SECONDS, f"{path}: took {seconds:.1f} s"
        assert megabytes < MOST_MEGABYTES, f"{path}: took {megabytes:.0f} MB"

    one()
    return found


def main() -> int:
    """Fuzz for so many minutes, one seed after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    asked = parser.parse_args()
    began, number, total = time.monotonic(), asked.seed, collections.Counter[str]()
    bases()
    with tempfile.TemporaryDirectory(prefix="wieldy-fuzz-") as folder:
        while time.monotonic() - began < 60 * asked.minutes:
            path = Path(folder) / "net.wieldy"
            found, said = explored(number, path)
            if found is None:
                kept = Path(f"fuzz-{number}.wieldy")
                kept.write_bytes(path.read_bytes())
                print(f"seed {number}: {said}\nThe file is {kept.resolve()}.")
                return 1
            total += found
            number += 1
            print(f"seed {number - 1}: {dict(found)}, {sum(total.values()):,} in all", flush=True)
    result = {
        "environment": environment(1), "minutes": (time.monotonic() - began) / 60, "findings": 0,
        "seeds": [asked.seed, number - 1], "examples": EXAMPLES, "outcomes": dict(total.most_common()),
    }  # fmt: skip
    write_atomic(asked.out / "fuzz.json", (json.dumps(result, indent=1) + "\n").encode())
    return 0


def explored(number: int, path: Path) -> tuple[collections.Counter[str] | None, str]:
    """Explore a seed in a process of its own; return what it found, or None and how it ended."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(number, path, theirs))
    child.start()
    theirs.close()
    try:
        while True:
            modified = path.stat().st_mtime if path.exists() else time.time()
            if ours.poll(1.0):
                found, said = ours.recv()
                return found, said
            if time.time() - modified > 2 * HANG_SECONDS:
                return None, "hangs"
    except EOFError:
        child.join()
        return None, f"crashed ({child.exitcode})"
    finally:
        child.kill()
        child.join()


def _answer(number: int, path: Path, answer: Any) -> None:
    try:
        answer.send((explore(number, EXAMPLES, path), ""))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
        answer.send((None, f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    sys.exit(main())
