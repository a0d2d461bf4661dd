"""Values inside a network that a smaller one is to reproduce, channel by channel.

Source: Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015,
arXiv 1412.6550, section 2.2: the student learns hidden values of its teacher. There a learned map bridges
their widths; here none is needed, since each channel that stayed is a channel of the teacher's.
"""

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from wieldy.graph.coupling import couple
from wieldy.graph.network import DROPOUTS, GraphNetwork
from wieldy.graph.program import FLOAT, Program
from wieldy.graph.removal import Kept, keep_indices, remaining


@dataclass(frozen=True)
class Features:
    """Which values to match, and which of the teacher's indices the student has kept along their axes."""

    names: tuple[str, ...]
    kept: Kept

    def of_student(self, value: Tensor, name: str) -> Tensor:
        """Cut one of the teacher's values down to what the student has of it."""
        return torch.from_numpy(keep_indices(value.numpy(), name, self.kept))


def stage_features(network: GraphNetwork, removed: Mapping[str, Collection[int]]) -> Features:
    """Return the last value of every stage of `network`, and what stays of it when `removed` goes."""
    names = stage_ends(network.program)
    return Features(names, remaining(couple(network.program), removed, names))


def stage_ends(program: Program) -> tuple[str, ...]:
    """Return, for each resolution that occurs, the last value that has it; outputs are left out.

    Channels may differ within a stage, height and width do not. Dropout's outputs are noise in training, and
    whole numbers nothing to learn. Of a sequence (batch, length, width) the last axis has the channels.
    """
    last: dict[tuple[int | None, ...], str] = {}
    for node in program.nodes:
        inside = node.name not in program.outputs and len(node.shape) > 1 and node.shape[0] is None
        if inside and node.op not in DROPOUTS and node.dtype == FLOAT:
            last[node.shape[1:2] if len(node.shape) == 3 else node.shape[2:]] = node.name
    return tuple(last.values())


def exposing(network: GraphNetwork, names: tuple[str, ...]) -> GraphNetwork:
    """Return a copy of `network` that yields the values `names` after its own outputs."""
    exposed = copy.deepcopy(network)
    program = network.program
    exposed.replace_program(program.with_outputs((*program.outputs, *names)), {})
    return exposed


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return mean((student - teacher)^2) / mean(teacher^2): 1 for a student that yields nothing.

    Example:
        >>> distance(torch.zeros(2, 3), torch.ones(2, 3)).item()
        1.0
    """
    difference = student.float() - teacher
    return difference.square().mean() / teacher.square().mean().clamp_min(torch.finfo(torch.float32).tiny)
