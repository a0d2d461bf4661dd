"""A package stored without its zeros: opened without torch, without kernels, and by many threads at once."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from byhand import ByHand
from numpy.typing import NDArray
from planes import VARIANTS, Planes, needs_kernels, zeros_with
from processes import in_a_process

from wieldy.core.errors import KernelError
from wieldy.graph.ops import CONV
from wieldy.kernels import native
from wieldy.package.save import save
from wieldy.runtime import zeros as module
from wieldy.runtime.child import layers
from wieldy.runtime.engine import core
from wieldy.runtime.lower import lower
from wieldy.runtime.session import open as open_package
from wieldy.runtime.tier import current_tier, has_bf16
from wieldy.runtime.zeros import KernelWarning

FORMATS = {1: "csr", 4: "block_4x1", 8: "block_8x1"}
THREADS = 8
REQUESTS = 1000


def sparse_net() -> Planes:
    """Return a residual network with every form of zeros and one layer that stays dense."""
    net = Planes()
    x = net.input(3, 14, 14)
    first = net.relu(net.norm(net.conv(x, 16, padding=(1, 1), block=None)))
    second = net.relu(net.norm(net.conv(first, 16, padding=(1, 1), block=8)))
    third = net.relu(net.add(net.norm(net.conv(second, 16, padding=(1, 1), block=1)), first))
    net.sigmoid(net.mean(net.conv(third, 24, stride=(2, 2), padding=(1, 1), block=4)))
    return net


NET = sparse_net()


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("zeros")
    net = ByHand(NET.program(), NET.tensors)
    formats = {name: FORMATS[block] for name, block in NET.blocks.items()}
    return {
        "sparse": save(net, folder / "sparse.wieldy", formats=formats),
        "dense": save(net, folder / "dense.wieldy"),
    }


@needs_kernels
def test_the_time_of_a_region_is_told_layer_by_layer(paths: dict[str, Path], all_pay: None) -> None:
    task = {"sides": [{"path": str(paths["sparse"]), "precision": "f32"}], "threads": 2, "batch": 2}
    found = layers(task)["sides"][0]
    convolutions = {node.layer for node in NET.program().nodes if node.op == CONV and node.stored()}
    assert convolutions <= {name for row in found for name in row["layers"]}
    chains = [row for row in found if row["kind"] == "Zeros"]
    assert sum(len(row["layers"]) for row in chains) == len(NET.blocks)
    assert all(row["milliseconds"] >= 0 for row in found)


@pytest.fixture
def all_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers as small as these would run dense: let all run by their zeros."""
    monkeypatch.setattr(module, "cost_table", lambda *_: SimpleNamespace(cpu=""))
    monkeypatch.setattr(module, "choose", lambda program, arrays, stored, table, gain: dict(stored))


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.REQUIRED, raising=False)
    monkeypatch.setattr(native, "_load", lambda: (None, "were not built: install wieldy again"))


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 3, 14, 14), np.float32)


def relative_error(found: Any, wanted: Any) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def region_count(session: Any, batch: int = 1) -> int:
    model = lower(session.package.program, session.package.tensors, batch, session._zeros)
    return sum(op.get_type_name() == "Region" for op in model.get_ops())


@needs_kernels
@pytest.mark.parametrize("count", [1, 3])
def test_a_sparse_package_computes_what_the_dense_one_does(
    paths: dict[str, Path], all_pay: None, count: int
) -> None:
    run = open_package(paths["sparse"], threads=1)
    assert region_count(run) == 1
    assert relative_error(run(images(count)), open_package(paths["dense"], threads=1)(images(count))) < 1e-5


@needs_kernels
def test_layers_that_are_stored_dense_are_left_alone(paths: dict[str, Path], all_pay: None) -> None:
    run = open_package(paths["sparse"], threads=1)
    assert run._zeros is not None
    assert run._zeros.blocks == NET.blocks
    assert len(NET.blocks) == sum("conv" in node.name for node in NET.nodes) - 1
    assert open_package(paths["dense"], threads=1)._zeros is None


WITHOUT_TORCH = """
import sys
from types import SimpleNamespace
import numpy as np
from wieldy.runtime import zeros
from wieldy.runtime.session import open
zeros.cost_table = lambda *_: SimpleNamespace(cpu="")
zeros.choose = lambda program, arrays, stored, table, least_gain: dict(stored)
run = open(sys.argv[1], threads=1)
np.save(sys.argv[3], run(np.load(sys.argv[2])))
print(len(run._zeros.blocks), "torch" in sys.modules)
"""


@needs_kernels
def test_a_sparse_package_needs_no_torch(paths: dict[str, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images(2))
    lines, _ = in_a_process(WITHOUT_TORCH, paths["sparse"], tmp_path / "x.npy", tmp_path / "y.npy")
    assert lines == [f"{len(NET.blocks)} False"]
    wanted = open_package(paths["dense"], threads=1)(images(2))
    assert relative_error(np.load(tmp_path / "y.npy"), wanted) < 1e-5


def test_missing_kernels_are_told_once_and_all_runs_dense(paths: dict[str, Path], no_kernels: None) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run = open_package(paths["sparse"], threads=1)
        found = [run(images(count)) for count in (1, 2, 1)]
    (warning,) = told
    assert warning.category is KernelWarning
    assert "install wieldy again" in str(warning.message)
    assert str(paths["sparse"]) in str(warning.message)
    assert run._zeros is None
    dense = open_package(paths["dense"], threads=1)
    assert all(np.array_equal(y, dense(images(count))) for y, count in zip(found, (1, 2, 1), strict=True))


def test_missing_kernels_matter_to_nobody_whose_package_is_dense(
    paths: dict[str, Path], no_kernels: None
) -> None:
    assert open_package(paths["dense"], threads=1)(images(1)).shape == (1, 24, 1, 1)


def test_kernels_that_are_required_must_be_there(
    paths: dict[str, Path], no_kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(native.REQUIRED, "1")
    with pytest.raises(
        KernelError, match=f"{native.REQUIRED} is set, but the compiled kernels were not built"
    ):
        open_package(paths["sparse"], threads=1)


def test_a_tier_without_a_variant_is_told_and_runs_dense(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "why_missing", lambda: None)
    monkeypatch.setattr(module, "variants", lambda: ("portable",))
    monkeypatch.setattr(module, "variant_for", lambda tier: "avx512")
    with pytest.warns(KernelWarning, match="have no variant 'avx512' for this CPU"):
        run = open_package(paths["sparse"], threads=1)
    assert run._zeros is None


@pytest.mark.skipif(not has_bf16(current_tier()), reason="this CPU has no bfloat16")
def test_bf16_runs_dense_and_says_nothing(paths: dict[str, Path], all_pay: None) -> None:
    run = open_package(paths["sparse"], threads=1, precision="bf16")  # a warning would be an error
    assert run._zeros is None
    dense = open_package(paths["dense"], threads=1, precision="bf16")
    np.testing.assert_array_equal(run(images(2)), dense(images(2)))


def all_equal(call: Callable[[NDArray[np.float32]], Any], counts: list[int]) -> bool:
    """Whether requests from many threads at once, in mixed sizes, give bit for bit what they give alone."""
    inputs = [images(count, seed) for seed, count in enumerate(counts)]
    alone = [call(x) for x in inputs]

    def one(number: int) -> bool:
        place = number * 7 % len(inputs)
        return np.array_equal(call(inputs[place]), alone[place])

    with ThreadPoolExecutor(THREADS) as pool:
        return all(pool.map(one, range(REQUESTS)))


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2])
def test_a_thousand_requests_at_once_are_as_good_as_one_after_the_other(
    paths: dict[str, Path], all_pay: None, threads: int
) -> None:
    run = open_package(paths["sparse"], threads=threads)
    assert run._zeros is not None
    assert all_equal(run, [1, 2, 1, 5, 1])


@needs_kernels
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_streams_of_one_model_do_not_mix(variant: str) -> None:
    model = lower(NET.program(), NET.tensors, 1, zeros_with(NET.blocks, variant, 2))
    settings = {"NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": "2", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core().compile_model(model, "CPU", settings)

    def call(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(compiled.create_infer_request().infer([x])[0])

    assert all_equal(call, [1, 1, 1])
