"""A package is a trainable network again, without the user's class."""

import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import pytest
import tiny
import torch
from torch.nn import functional as F

from wieldy.compress.apply import apply_plan
from wieldy.compress.load import from_package, load, torch_outputs
from wieldy.core.errors import PackageError
from wieldy.core.records import Plan
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.package.read import read
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.train.fit import FitConfig, fit


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_outputs_keys_and_bytes_are_the_same_again(name: str, tmp_path: Path) -> None:
    model, x, network = networks.traced(name)
    path = save(network, tmp_path / "net.wieldy")
    loaded = load(path)
    with torch.no_grad():
        assert networks.relative_error(loaded(x), model(x)) < 1e-5
    wanted = {name for name in model.state_dict() if not name.endswith("num_batches_tracked")}
    assert {name for name in loaded.state_dict() if not name.endswith("num_batches_tracked")} == wanted
    assert save(loaded, tmp_path / "again.wieldy").read_bytes() == path.read_bytes()


def test_the_users_class_is_not_needed(tmp_path: Path) -> None:
    path = save(tiny.trained(), tmp_path / "net.wieldy")
    x = tiny.digits().test.inputs[:20]
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np, torch\n"
        "from wieldy.compress.load import load\n"
        "x = torch.from_numpy(np.load(sys.argv[1]))\n"
        "np.save(sys.argv[2], load(sys.argv[3])(x).detach().numpy())\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x.npy", tmp_path / "y.npy", path], check=True, cwd=tmp_path
    )
    with torch.no_grad():
        wanted = tiny.trained()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), wanted, atol=1e-5 * np.abs(wanted).max())


def test_one_step_of_an_optimiser_is_the_same_as_on_the_network_itself(tmp_path: Path) -> None:
    network = tiny.trained()
    loaded = load(save(network, tmp_path / "net.wieldy"))
    x, y = (torch.from_numpy(part[:32]) for part in (tiny.digits().train.inputs, tiny.digits().train.targets))
    states = []
    for module in (network, loaded):
        module.train()
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        F.cross_entropy(module(x), y).backward()
        optimizer.step()
        states.append(tiny.state(module.eval()))
    tracked = [{k: v for k, v in state.items() if not k.endswith("num_batches_tracked")} for state in states]
    assert tracked[0] == tracked[1]


def test_a_small_network_is_trained_further_saved_and_opened_again(tmp_path: Path) -> None:
    network = tiny.trained()
    small = apply_plan(network, Plan(method={}, remove={"conv1": (0, 2), "conv2": (1, 5, 9)}))
    loaded = load(save(small, tmp_path / "small.wieldy"))
    assert not loaded.training
    better = fit(loaded, tiny.digits(), config=FitConfig(epochs=1, batch_size=64, learning_rate=0.01))
    assert tiny.state(better)["conv2.weight"] != tiny.state(loaded)["conv2.weight"]
    path = save(better, tmp_path / "better.wieldy")
    x = tiny.digits().test.inputs[:30]
    with torch.no_grad():
        wanted = better(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(torch_outputs(path)(x), wanted)
    np.testing.assert_allclose(open_package(path)(x), wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_loaded_network_is_pruned_as_the_traced_one_is(tmp_path: Path) -> None:
    network = tiny.trained()
    loaded = load(save(network, tmp_path / "net.wieldy"))
    assert [str(g) for g in couple(loaded.program).groups] == [str(g) for g in couple(network.program).groups]
    plan = Plan(method={}, remove={"conv1": (0, 2), "conv2": (1,)})
    one, two = (save(apply_plan(n, plan), tmp_path / f"{k}.wieldy") for k, n in enumerate((network, loaded)))
    assert one.read_bytes() == two.read_bytes()


def test_weights_of_a_loaded_network_are_its_own(tmp_path: Path) -> None:
    package = read(save(tiny.trained(), tmp_path / "net.wieldy"))
    one, two = from_package(package), from_package(package)
    before = tiny.state(two)
    with torch.no_grad():
        one.tensor("fc.weight").zero_()
    assert tiny.state(two) == tiny.state(from_package(package)) == before
    assert package.tensors["fc.weight"].any()


def test_a_file_that_is_no_package_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.wieldy"
    path.write_bytes(b"PK no package")
    with pytest.raises(PackageError):
        load(path)


def with_zeros() -> tuple[GraphNetwork, str]:
    """A network and the name of a weight of which a tenth is not zero, in numbers that float16 holds."""
    network = tiny.traced()
    weight = network.tensor("conv2.weight")
    kept = torch.arange(weight.numel()).reshape(weight.shape) % 10 == 0
    with torch.no_grad():
        weight.copy_(weight.half().float() * kept)
    return network, "conv2.weight"


@pytest.mark.parametrize("kind", ["csr", "csr_f16", "block_4x1"])
def test_what_is_stored_without_its_zeros_is_saved_so_again(kind: str, tmp_path: Path) -> None:
    network, name = with_zeros()
    first = save(network, tmp_path / "a.wieldy", formats={name: kind})
    assert save(load(first), tmp_path / "b.wieldy").read_bytes() == first.read_bytes()
    assert save(read(first), tmp_path / "c.wieldy").read_bytes() == first.read_bytes()
    assert set(read(save(load(first), tmp_path / "d.wieldy", formats={})).formats.values()) == {"dense"}


def test_a_format_that_would_round_or_saves_nothing_any_more_is_left(tmp_path: Path) -> None:
    network, name = with_zeros()
    loaded = load(save(network, tmp_path / "a.wieldy", formats={name: "csr_f16"}))
    with torch.no_grad():
        loaded.tensor(name)[0, 0, 0, 0] = 0.1
    assert read(save(loaded, tmp_path / "b.wieldy")).formats[name] == "csr"
    with torch.no_grad():
        loaded.tensor(name).fill_(0.1)
    assert read(save(loaded, tmp_path / "c.wieldy")).formats[name] == "dense"
