"""Networks that people bring lose 30 % of every group, are saved, and stay equal without their class."""

import copy
from pathlib import Path

import networks
import numpy as np
import pytest
import torch
import wild

from wieldy.compress.load import load
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.removal import remove_units
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package


def smaller(name: str) -> GraphNetwork:
    """Return the network without 30 % of the units of each of its groups."""
    network = copy.deepcopy(wild.traced(name)[2])
    coupling = couple(network.program)
    rng = np.random.default_rng(0)
    units = {
        group.name: rng.choice(group.size, max(1, round(0.3 * group.size)), replace=False).tolist()
        for group in coupling.groups
        if group.size > 1
    }
    network.replace_program(*remove_units(network.program, coupling, units))
    return network


@pytest.mark.parametrize("name", wild.WILD)
def test_a_smaller_network_is_opened_and_loaded_without_its_class(name: str, tmp_path: Path) -> None:
    network, inputs = smaller(name), wild.traced(name)[1]
    path = save(network, tmp_path / "small.wieldy")
    run, again = open_package(path, threads=1), load(path)
    for batch in (1, 3):
        given = [value[:batch] for value in inputs]
        wanted = wild.outputs(network(*given))
        found = wild.outputs(run(*(value.numpy() for value in given)))
        for one, other, want in zip(found, wild.outputs(again(*given)), wanted, strict=True):
            assert networks.relative_error(one, want) < 1e-4
            assert torch.allclose(other, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", wild.WILD)
def test_every_wide_layer_can_lose_something(name: str) -> None:
    pinned = couple(wild.traced(name)[2].program).pinned
    reasons = {reason for reason in pinned.values() if "outputs" not in reason}
    told = ("normalises over", "by its place", "channels that must stay")  # the last are the network's inputs
    assert all(any(part in reason for part in told) for reason in reasons), pinned
