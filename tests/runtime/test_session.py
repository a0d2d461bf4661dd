import threading
from dataclasses import replace

import byhand
import numpy as np
import pytest
import torch
from processes import in_a_process

from wieldy.core.errors import ConfigError, NotAPackageError, SchemaError, ShapeError
from wieldy.graph.program import Node
from wieldy.package.save import save
from wieldy.runtime import session as module
from wieldy.runtime.session import open as open_package
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import CAPS, available_tiers, current_tier, has_bf16

NET = byhand.conv_net()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save(NET, tmp_path_factory.mktemp("session") / "net.wieldy")


@pytest.fixture(scope="module")
def session(path):
    return open_package(path, threads=1)


def images(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 1, 6, 6), np.float32)


def relative_error(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_package_computes_what_its_program_says(session, count):
    x = images(count, seed=count)
    y = session(x)
    assert (type(y), y.dtype, y.shape) == (np.ndarray, np.float32, (count, 3))
    assert relative_error(y, byhand.conv_net_in_numpy(NET, x)) < 1e-5


def test_several_inputs_and_outputs_keep_their_order(tmp_path):
    run = open_package(save(byhand.adder(), tmp_path / "net.wieldy"), threads=1)
    a, b = np.random.default_rng(0).standard_normal((2, 4, 5), np.float32)
    scaled, relu = run(a, b)
    np.testing.assert_allclose(scaled, 3 * (a + b), rtol=1e-6)
    np.testing.assert_array_equal(relu, np.maximum(a, 0))


def test_an_input_may_lie_in_memory_as_it_likes_and_is_left_alone(session):
    x = images(6)
    expected = session(x[::2])
    strided, frozen = np.asfortranarray(x)[::2], x[::2].copy()
    frozen.flags.writeable = False
    for given in (strided, frozen, x[::2].tolist()):
        if isinstance(given, list):
            given = np.array(given, np.float32)
        before = given.copy()
        np.testing.assert_array_equal(session(given), expected)
        np.testing.assert_array_equal(given, before)


def test_a_torch_tensor_is_read_as_an_array(session):
    x = images(2)
    np.testing.assert_array_equal(session(torch.from_numpy(x)), session(x))


def test_results_are_the_caller_s_own(session):
    first = session(images(2, seed=1))
    kept = first.copy()
    second = session(images(2, seed=2))
    np.testing.assert_array_equal(first, kept)
    second[:] = 0
    np.testing.assert_array_equal(session(images(2, seed=1)), kept)
    assert first.flags.owndata
    assert first.flags.writeable


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), r"takes 1 inputs \(x\); got 0"),
        ((images(1), images(1)), r"takes 1 inputs \(x\); got 2"),
        ((images(1).astype(np.float64),), "input 'x': must be float32; got float64. Use .astype"),
        ((images(1).astype(np.uint8),), "got uint8"),
        ((images(1).astype(">f4"),), "got >f4"),
        ((images(1)[0],), r"input 'x': must be \(batch, 1, 6, 6\); got \(1, 6, 6\)"),
        ((images(1)[..., :5],), r"got \(1, 1, 6, 5\)"),
        ((images(1)[:0],), r"got \(0, 1, 6, 6\)"),
        ((np.float32(3),), r"got \(\)"),
        (([[1.0], [1.0, 2.0]],), "cannot be read as an array"),
        ((torch.zeros(1, 1, 6, 6, requires_grad=True),), "cannot be read as an array"),
        ((None,), "must be float32; got object"),
    ],
)
def test_a_wrong_input_is_refused_by_name(session, inputs, message):
    with pytest.raises(ShapeError, match=message):
        session(*inputs)


def test_inputs_of_unequal_batch_are_refused(tmp_path):
    run = open_package(save(byhand.adder(), tmp_path / "net.wieldy"), threads=1)
    with pytest.raises(ShapeError, match=r"input 'b': must be \(batch, 5\); got \(3, 5\)"):
        run(np.zeros((2, 5), np.float32), np.zeros((3, 5), np.float32))


def test_a_session_for_one_batch_takes_no_other(path):
    run = open_package(path, threads=1, batch=4)
    assert run(images(4)).shape == (4, 3)
    with pytest.raises(ShapeError, match=r"must be \(4, 1, 6, 6\); got \(3, 1, 6, 6\)"):
        run(images(3))


def test_threads_at_once_get_their_own_results(path):
    run = open_package(path, threads=2)
    expected = {count: byhand.conv_net_in_numpy(NET, images(count, count)) for count in range(1, 5)}
    worst, start = [], threading.Barrier(4)

    def work(first):
        start.wait()
        for call in range(20):
            count = 1 + (first + call) % 4
            worst.append(relative_error(run(images(count, count)), expected[count]))

    workers = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(worst) == 80
    assert max(worst) < 1e-5


@pytest.fixture
def compiled(monkeypatch):
    """The batch sizes that are compiled, in order."""
    sizes = []
    original = module.lower_package

    def counted(package, batch, *how):
        sizes.append(batch)
        return original(package, batch, *how)

    monkeypatch.setattr(module, "lower_package", counted)
    return sizes


def test_each_batch_size_is_compiled_once(path, compiled):
    run = open_package(path, threads=1)
    for count in (1, 2, 1, 2, 1):
        run(images(count))
    assert compiled == [1, 2]


def test_the_batch_size_that_was_used_longest_ago_is_dropped_first(path, compiled, monkeypatch):
    monkeypatch.setattr(module, "KEPT_BATCHES", 2)
    run = open_package(path, threads=1)
    for count in (1, 2, 1, 3, 1, 2):  # 3 drops 2, which was used before 1
        assert relative_error(run(images(count)), byhand.conv_net_in_numpy(NET, images(count))) < 1e-5
    assert compiled == [1, 2, 3, 2]
    assert len(run._forms) == 2


@pytest.mark.parametrize("given", [{"threads": 0}, {"threads": -1}, {"batch": 0}])
def test_threads_and_batch_below_one_are_refused(path, given):
    with pytest.raises(ConfigError, match="threads and batch must be at least 1"):
        open_package(path, **given)


def test_threads_default_to_the_cores_that_may_be_used(path):
    assert open_package(path).threads == usable_cores() >= 1


def test_an_unknown_precision_is_refused(path):
    with pytest.raises(ConfigError, match="precision: must be one of f32, bf16; got 'int4'"):
        open_package(path, precision="int4")


@pytest.mark.skipif(not has_bf16(current_tier()), reason="this CPU has no bfloat16")
def test_bf16_is_another_and_coarser_arithmetic(path, session):
    x = images(8)
    error = relative_error(open_package(path, threads=1, precision="bf16")(x), session(x))
    assert 1e-5 < error < 0.05


def test_a_missing_package_is_named(tmp_path):
    with pytest.raises(NotAPackageError, match=r"none.wieldy"):
        open_package(tmp_path / "none.wieldy")


def test_layers_that_do_not_fit_each_other_are_refused(tmp_path):
    fc = NET.program.nodes[-1]
    wrong = Node(fc.name, fc.op, fc.inputs, fc.module, (None, 4))
    program = replace(NET.program, nodes=(*NET.program.nodes[:-1], wrong))
    run = open_package(save(byhand.ByHand(program, NET.tensors), tmp_path / "net.wieldy"))
    with pytest.raises(SchemaError, match="'fc'"):
        run(images(1))


TIERS = """
import sys
import numpy as np
from wieldy.core.errors import TierError
from wieldy.runtime.session import open
path, low, high = sys.argv[1:]
x = np.ones((1, 1, 6, 6), np.float32)
def attempt(**given):
    try:
        print("ran", *open(path, threads=1, **given)(x)[0].round(3))
    except TierError as error:
        print(error)
attempt(tier="neon")
attempt(tier=low, precision="bf16")
attempt(tier=low)
attempt(tier=low)
attempt(tier=high)
"""
LESSER = [tier for tier in available_tiers() if tier in CAPS and tier != current_tier()]


@pytest.mark.skipif("avx2" not in LESSER, reason="this CPU has no tier above avx2")
def test_a_tier_holds_for_the_whole_process(path):
    lines, _ = in_a_process(TIERS, path, "avx2", current_tier())
    assert lines[0].startswith("tier: must be one of")
    assert lines[1] == "precision: bf16 is not native on the tier 'avx2' of this CPU; use f32."
    assert lines[2] == lines[3]
    assert lines[2].startswith("ran ")
    assert lines[4].startswith("tier: this process already uses 'avx2'")


WITHOUT_TORCH = """
import importlib, pkgutil, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "scipy", "joblib", "kornia", "jinja2", "yaml", "pooch"):
            raise ModuleNotFoundError(f"{name} is not in the base install")

sys.meta_path.insert(0, NoTorch())
import numpy as np
names = ["wieldy.graph.program", "wieldy.graph.labels", "wieldy.graph.coupling"]
for folder in ("core", "formats", "package", "runtime"):
    package = importlib.import_module(f"wieldy.{folder}")
    names += [f"wieldy.{folder}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
for name in names:
    importlib.import_module(name)
import wieldy
print(len(names), wieldy.open(sys.argv[1], threads=1)(np.ones((2, 1, 6, 6), np.float32)).shape)
"""


def test_a_package_opens_and_runs_on_the_base_install(path):
    lines, _ = in_a_process(WITHOUT_TORCH, path)
    ((count, *shape),) = (line.split(maxsplit=1) for line in lines)
    assert int(count) > 20
    assert shape == ["(2, 3)"]
