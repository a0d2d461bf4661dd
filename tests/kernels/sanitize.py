"""The kernels under sanitizers: all their tests with address and undefined behaviour, regions with threads.

    python tests/kernels/sanitize.py [address] [thread]

Builds into build/sanitize and changes nothing else. Needs g++, which brings the sanitizers' libraries.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KERNELS = ROOT / "src/wieldy/kernels"
BUILD = ROOT / "build/sanitize"
MODULE = "wieldy.kernels._native"
REGIONS = 150
AVX2 = ["-mavx2", "-mfma"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma"]
SOURCES = {
    "variants.cpp": [], "region/executor.cpp": [], "sparse_conv/portable.cpp": [],
    "sparse_linear/portable.cpp": [], "sparse_conv/avx2.cpp": AVX2, "sparse_linear/avx2.cpp": AVX2,
    "sparse_conv/avx512.cpp": AVX512, "region/levels.cpp": [], "sparse_int8/portable.cpp": [],
    "sparse_int8/avx2.cpp": AVX2, "sparse_int8/avx_vnni.cpp": [*AVX2, "-mavxvnni"],
    "sparse_int8/avx512_vnni.cpp": [*AVX512, "-mavx512vnni"],
}  # fmt: skip
STANDINS = ("blocked_range", "parallel_for", "partitioner", "task_arena", "task_group")


def run(command: list[str], **environment: str) -> None:
    """Run a command from the root of the tree, this Python's own tools first, or end with its exit status."""
    print("+", " ".join(command), flush=True)
    tools = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": tools} | environment, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def library(name: str) -> str:
    """Return the path of a library of the compiler."""
    found = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def address() -> None:
    """Build the module with the address and undefined-behaviour sanitizers, and run tests/kernels on it."""
    folder = BUILD / "address"
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g"
    run([
        "cmake", "-S", str(KERNELS), "-B", str(folder), f"-DPython_EXECUTABLE={sys.executable}",
        f"-DCMAKE_CXX_FLAGS={flags}",
    ])  # fmt: skip
    run(["cmake", "--build", str(folder), "--parallel"])
    (built,) = folder.glob("_native*.so")
    run(
        [sys.executable, __file__, "tests", str(built)],
        LD_PRELOAD=":".join(map(library, ("libasan.so", "libubsan.so", "libstdc++.so"))),
        ASAN_OPTIONS="detect_leaks=0",
        UBSAN_OPTIONS="print_stacktrace=1",
    )


def tests(built: str) -> int:
    """Run tests/kernels with a compiled module in the place of the installed one."""
    import pytest

    spec = importlib.util.spec_from_file_location(MODULE, built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    spec.loader.exec_module(module)
    return pytest.main(["-p", "no:cacheprovider", str(HERE)])


def thread() -> None:
    """Build the executor with the thread sanitizer and run random regions on up to four threads."""
    from wieldy.kernels.native import level_variants, variants

    folder = BUILD / "thread"
    (folder / "tbb").mkdir(parents=True, exist_ok=True)
    for name in STANDINS:
        (folder / f"tbb/{name}.h").write_text(f'#include "{HERE / "standin_tbb.h"}"\n')
    objects = []
    flags = ["-std=c++17", "-O1", "-g", "-fsanitize=thread", f"-I{folder}", f"-I{KERNELS}"]
    for source, own in {str(HERE / "threads.cpp"): [], **SOURCES}.items():
        objects.append(str(folder / source.replace("/", "_")) + ".o")
        run(["g++", *flags, *own, "-c", str(KERNELS / source), "-o", objects[-1]])
    driver = str(folder / "threads")
    run(["g++", "-fsanitize=thread", *objects, "-o", driver])
    for names in [*((name, "") for name in variants()), *(("portable", name) for name in level_variants())]:
        write_regions(folder / "regions", *names)
        run([driver, *names, str(folder / "regions")], TSAN_OPTIONS="halt_on_error=1")


def write_regions(path: Path, variant: str, level_variant: str) -> None:
    """Write random regions as threads.cpp reads them; of levels, if a variant of those is named."""
    sys.path.insert(0, str(ROOT / "tests"))
    from hypothesis import Phase, given, seed, settings
    from hypothesis import strategies as st
    from level_cases import level_regions
    from region_cases import regions

    from wieldy.kernels.region.ops import Size
    from wieldy.kernels.region.plan import plan_region

    with path.open("wb") as file:

        def write(array: np.ndarray) -> None:
            file.write(np.int64(array.size).tobytes() + array.tobytes())

        @seed(0)
        @settings(max_examples=REGIONS, deadline=None, database=None, phases=[Phase.generate])
        @given(region=level_regions() if level_variant else regions(), threads=st.integers(2, 4),
               turned=st.booleans())  # fmt: skip
        def write_region(region, threads, turned) -> None:  # type: ignore[no-untyped-def]
            inputs, ops, outputs = region
            levels = None
            if level_variant:
                x, ops, levels = region
                inputs, outputs = {"v0": x}, [op.target for op in ops]
            last = (*inputs, *outputs) if turned else ()
            sizes = {name: Size(*array.shape[1:]) for name, array in inputs.items()}
            plan = plan_region(
                sizes, ops, outputs, variant=variant, threads=threads, channels_last=last, levels=levels,
                level_variant=level_variant,
            )  # fmt: skip
            results = [int(np.prod(shape)) for shape in plan.outputs]
            write(np.array([threads, plan.workspace_floats, len(inputs), *results], np.int64))
            for array in (plan.steps, plan.indices, plan.values, *(array[0] for array in inputs.values())):
                write(array)

        write_region()


if __name__ == "__main__":
    if sys.argv[1:2] == ["tests"]:
        sys.exit(tests(sys.argv[2]))
    for name in sys.argv[1:] or ["address", "thread"]:
        {"address": address, "thread": thread}[name]()
