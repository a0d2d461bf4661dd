"""Costs against torch itself: parameters by counting, multiply-accumulates from the shapes that occur."""

import networks
import pytest
import torch
from torch import Tensor, nn

from wieldy.graph.cost import layer_costs, total_macs, total_parameters
from wieldy.graph.trace import trace


def counted_macs(model: nn.Module, x: Tensor) -> int:
    """Outputs of one example times what each of them sums over."""
    found = []

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        found.append(output[0].numel() * module.weight[0].numel())

    kinds = (nn.Conv2d, nn.Linear)
    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, kinds)]
    model(x)
    for hook in hooks:
        hook.remove()
    return sum(found)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_totals_are_what_torch_counts(name: str) -> None:
    model, x, network = networks.traced(name)
    assert total_macs(network.program) == counted_macs(model, x)
    assert total_parameters(network.program) == sum(parameter.numel() for parameter in model.parameters())


def test_bytes_are_those_of_all_that_is_stored() -> None:
    _, _, network = networks.traced("mobilenet_v2")
    stored = sum(array.nbytes for array in network.arrays().values())
    assert sum(row.bytes for row in layer_costs(network.program)) == stored


def test_a_layer_that_is_used_twice_computes_twice_and_is_stored_once() -> None:
    shared = nn.Linear(4, 4)
    program = trace(nn.Sequential(shared, nn.ReLU(), shared), torch.zeros(1, 4)).program
    assert total_macs(program) == 32
    assert total_parameters(program) == 20
