"""Training in eight bits: what is multiplied lies on levels, what learns does not.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018, section 3: weights and values are rounded in the forward pass as the integers will be,
gradients move weights in float32, and ranges settle before they are frozen. The gradient of a rounding is
taken for 1 inside the range and for 0 outside (Bengio, Leonard, Courville, "Estimating or Propagating
Gradients Through Stochastic Neurons for Conditional Computation", arXiv 1308.3432: straight through).

Ours: ranges of values are not moving averages of least and largest. They are chosen anew on examples, at some
moments, by the rule by which they were chosen first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wieldy.core.errors import ConfigError
from wieldy.formats import FORMATS
from wieldy.formats.integer import IntegerFormat
from wieldy.graph.fake_quantize import (
    Levels,
    levels_of,
    rounded_values,
    roundings,
    with_other_levels,
)  # fmt: skip
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.graph.ops import WEIGHTED
from wieldy.graph.program import Program
from wieldy.methods.contract import Hook, Step
from wieldy.methods.quantize.integer import IntegerConfig, chosen_levels, rounded_weight
from wieldy.stats.ranges import ValueRange, collect_ranges

MOMENTS = 3  # at which ranges are chosen anew; the last is when they freeze
CHANNELS = 1  # the axis of a value's means, which are not used here
Inputs = tuple[NDArray[np.generic], ...]


class Rounding(Hook):
    """Lets a network that `quantize` returned learn with its levels in place.

    Weights are rounded before each forward pass and put back before the optimiser moves them; each row's
    scale follows its largest weight. Weights that are zero stay on the level zero while `Mask` keeps them so.

    Args:
        examples: batches of inputs on which ranges are chosen anew; none: they stay as they are.
        config: by which `quantize` chose them.
        frozen: the share of the training after which they stay.

    Raises:
        ConfigError: `frozen` is not in (0, 1], or, from `attach`, the network has no layer in whole numbers.

    Cost: rounding every weight at each step, in numpy; two passes over the examples at each of three moments.
    """

    needs: ClassVar[Mapping[str, Any]] = {"precision": "f32"}  # bfloat16 has fewer digits than levels need

    def __init__(
        self, examples: Sequence[Inputs] = (), config: IntegerConfig | None = None, frozen: float = 0.5
    ) -> None:
        if not 0 < frozen <= 1:
            raise ConfigError(f"Rounding: frozen must be a share of the training in (0, 1]; got {frozen}.")
        self.examples, self.config, self.frozen = examples, config or IntegerConfig(), frozen
        self._forms: dict[str, IntegerFormat] = {}
        self._held: dict[str, Tensor] = {}
        self._network: GraphNetwork | None = None

    def attach(self, network: nn.Module) -> None:
        """Note which weights are whole numbers."""
        traced = need_traced(network, "Rounding")
        found = {name: FORMATS[kind] for name, kind in traced.formats.items()}
        self._forms = {name: form for name, form in found.items() if isinstance(form, IntegerFormat)}
        if not self._forms:
            raise ConfigError("Rounding: no layer of the network is in whole numbers. Use `quantize` first.")
        self._network = traced

    @torch.no_grad()
    def before_forward(self, network: nn.Module) -> None:
        """Put every weight on its levels."""
        traced = need_traced(network, "Rounding")
        for name in self._forms:
            self._held[name] = traced.tensor(name).detach().clone()
        self._round(traced)

    @torch.no_grad()
    def after_backward(self, step: Step) -> None:
        """Put back the weights that learn; the gradient is that of the rounded ones."""
        traced = need_traced(step.network, "Rounding")
        for name, weight in self._held.items():
            traced.tensor(name).copy_(weight)
        self._held = {}

    def after_step(self, step: Step) -> None:
        """Choose ranges anew if it is time."""
        if self.examples and self._due((step.index + 1) / step.total) > self._due(step.index / step.total):
            self._choose(need_traced(step.network, "Rounding"))

    @torch.no_grad()
    def finish(self, network: nn.Module) -> None:
        """Leave the weights on their levels."""
        self._round(need_traced(network, "Rounding"))

    def state(self) -> Mapping[str, Tensor]:
        """Return the ranges; the weights that learn are the network's."""
        assert self._network is not None
        return {
            node.name: torch.tensor(astuple(levels_of(node)), dtype=torch.float64)
            for node in roundings(self._network.program)
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the ranges back."""
        assert self._network is not None
        found = {}
        for name, (scale, *whole) in ((name, values.tolist()) for name, values in state.items()):
            found[name] = Levels(scale, *(int(number) for number in whole))
        self._network.replace_program(with_other_levels(self._network.program, found), {})

    def _due(self, time: float) -> int:
        """How many of the moments have passed."""
        return int(MOMENTS * min(1.0, time / self.frozen) + 1e-9)

    def _round(self, network: GraphNetwork) -> None:
        for name, form in self._forms.items():
            weight = network.tensor(name)
            weight.copy_(torch.from_numpy(rounded_weight(weight.detach().numpy(), form)))

    def _choose(self, network: GraphNetwork) -> None:
        """Choose the levels of every value on the examples, as the network is now."""
        program = network.program
        own = GraphNetwork.from_arrays(program, network.arrays(), network.formats)  # with no watchers
        with torch.no_grad():
            self._round(own)
        values = {node.name: next(node.refs()) for node in roundings(program)}
        known = collect_ranges(own, self.examples, dict.fromkeys(values.values(), CHANNELS))
        network.replace_program(with_other_levels(program, self._levels(program, values, known)), {})

    def _levels(
        self, program: Program, values: Mapping[str, str], known: Mapping[str, ValueRange]
    ) -> dict[str, Levels]:
        """Return the levels of every rounding; what is put together shares them."""
        readers = [node.name for node in program.nodes if node.op in WEIGHTED]
        found = {}
        for name, members in rounded_values(program, readers).items():
            if name in values:  # else its readers stay in float32
                ranges = [known[values[member]] for member in members if member in values]
                is_input = values[name] in program.inputs
                found[name] = chosen_levels(ranges, self.config, is_input=is_input)
        return found
