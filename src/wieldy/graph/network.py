"""A module over a program's nodes: it keeps the user's leaf modules and walks the graph calling them."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wieldy.core.errors import ConfigError, ShapeError, TraceError
from wieldy.graph.leaves import rebuild_leaf
from wieldy.graph.operators import operator
from wieldy.graph.ops import EXPAND, FULL, OPS
from wieldy.graph.program import Argument, Node, Program, Ref, Stored, with_batch
from wieldy.graph.removal import Kept, keep_indices

DROPOUTS = ("aten.dropout.default", "aten.feature_dropout.default")


class GraphNetwork(nn.Module):
    """A network that is data and module at once.

    Leaf modules and tensors keep the names that the user gave them, so a `state_dict`, a hook or a
    training loop of the user's works as before. Train and evaluation mode differ as in the original.

    Args:
        program: the nodes to walk; its tensors' names are paths in this module.
        leaves: leaf modules by path; each is called for the nodes that name it.
        tensors: parameters and buffers that belong to no leaf, by path.
        aliases: further paths of tensors that the user's module holds under several names.
        transient: those of `tensors` that its `state_dict` leaves out.

    Raises:
        ShapeError: from `forward`: the number or the shapes of the inputs are wrong.
    """

    def __init__(
        self,
        program: Program,
        leaves: Mapping[str, nn.Module],
        tensors: Mapping[str, Tensor],
        *,
        aliases: Mapping[str, str] | None = None,
        transient: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.formats: Mapping[str, str] = {}  # how a package stores tensors, where not dense
        self._build(program, leaves, tensors, aliases or {}, transient)

    def _build(
        self,
        program: Program,
        leaves: Mapping[str, nn.Module],
        tensors: Mapping[str, Tensor],
        aliases: Mapping[str, str],
        transient: Collection[str],
    ) -> None:
        self.program = program
        for path, leaf in leaves.items():
            container, name = self._container(path)
            _free(container, name)
            container.add_module(name, leaf)
        for path, tensor in tensors.items():
            self._add_tensor(path, tensor, persistent=path not in transient)
        for path, first in aliases.items():
            self._add_tensor(path, self.tensor(first), persistent=True)
        self._leaves = frozenset(leaves)
        self._watched: frozenset[str] = frozenset()
        self._seen: dict[str, Tensor] = {}
        self._last_use = _last_uses(program)

    @classmethod
    def from_arrays(
        cls, program: Program, arrays: Mapping[str, NDArray[Any]], formats: Mapping[str, str]
    ) -> "GraphNetwork":
        """Return a network made of plain data; layers with weights, norms and dropouts are modules."""
        network = cls(program, *_parts(program, arrays))
        network.formats = formats
        return network.eval()

    def rewrite(
        self, program: Program, arrays: Mapping[str, NDArray[Any]], formats: Mapping[str, str]
    ) -> None:
        """Become another network in place. Its leaf modules are made anew: hooks on the old ones are gone."""
        for held in (self._modules, self._parameters, self._buffers):
            held.clear()
        self._build(program, *_parts(program, arrays), {}, ())
        self.formats = {name: kind for name, kind in formats.items() if name in program.tensors}
        self.train(self.training)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map inputs in traced order to the output, or to a tuple of them."""
        values = self._bind(inputs)
        batch = inputs[0].shape[0]  # not len, which a tracer takes for a constant
        for node in self.program.nodes:
            values[node.name] = self._call(node, values, batch)
            if node.name in self._watched:
                self._seen[node.name] = values[node.name]
            for name in self._last_use[node.name]:
                del values[name]
        found = tuple(values[name] for name in self.program.outputs)
        return found[0] if len(found) == 1 else found

    def watch(self, names: Collection[str]) -> Mapping[str, Tensor]:
        """Return a mapping in which every forward pass puts the values of these nodes; of none: stop.

        Raises:
            ConfigError: the network has no such node.
        """
        unknown = set(names) - {node.name for node in self.program.nodes}
        if unknown:
            raise ConfigError(f"network: has no value {sorted(unknown)[0]!r}. Its program names them all.")
        self._watched, self._seen = frozenset(names), {}
        return self._seen

    def tensor(self, name: str) -> Tensor:
        """Return the parameter or buffer at a path of the program."""
        path, _, last = name.rpartition(".")
        found: Tensor = getattr(self.get_submodule(path), last)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor of the program as a numpy array of its own."""
        return {name: self.tensor(name).detach().cpu().numpy().copy() for name in self.program.tensors}

    def replace_program(self, program: Program, kept: Kept) -> None:
        """Take over a program with channels removed, and cut every tensor down to what stays."""
        for name in {tensor for tensor, _ in kept}:
            self._set(name, keep_indices(self.tensor(name).detach().cpu().numpy(), name, kept))
        self.program = program
        self._last_use = _last_uses(program)
        for node in program.nodes:
            if node.module in self._leaves:
                _refresh(self.get_submodule(node.module), node)

    def _set(self, name: str, array: NDArray[Any]) -> None:
        """Put a tensor in the place of another, under every name that it has."""
        old = self.tensor(name)
        new = torch.from_numpy(np.ascontiguousarray(array)).to(old.device)
        new = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        for module in self.modules():
            for key, tensor in [*module._parameters.items(), *module._buffers.items()]:
                if tensor is old:
                    setattr(module, key, new)

    def _add_tensor(self, path: str, tensor: Tensor, *, persistent: bool) -> None:
        container, name = self._container(path)
        _free(container, name)
        if isinstance(tensor, nn.Parameter):
            container.register_parameter(name, tensor)
        else:
            container.register_buffer(name, tensor, persistent=persistent)

    def _container(self, path: str) -> tuple[nn.Module, str]:
        """Return the module that holds `path`, made of plain modules where it is missing."""
        *parts, name = path.split(".")
        module: nn.Module = self
        for part in parts:
            if part not in module._modules:
                _free(module, part)
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        return module, name

    def _bind(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        specs = self.program.inputs
        if len(inputs) != len(specs):
            raise ShapeError(f"network: takes {len(specs)} inputs ({', '.join(specs)}); got {len(inputs)}.")
        for (name, spec), value in zip(specs.items(), inputs, strict=True):
            if tuple(value.shape[1:]) != spec.shape[1:] or str(value.dtype) != f"torch.{spec.dtype}":
                raise ShapeError(
                    f"network: input {name!r} must be {spec.dtype} "
                    f"(batch, {', '.join(map(str, spec.shape[1:]))}); got {value.dtype} {tuple(value.shape)}."
                )
        return dict(zip(specs, inputs, strict=True))

    def _call(self, node: Node, values: Mapping[str, Tensor], batch: int) -> Tensor:
        if node.module in self._leaves:
            source = next(iter(node.refs()))
            result: Tensor = self.get_submodule(node.module)(values[source])
            return result
        arguments = {name: self._resolve(value, values) for name, value in node.inputs.items()}
        if node.op == "aten.batch_norm.default" or node.op in DROPOUTS:
            flag = "training" if "training" in arguments else "train"
            arguments[flag] = arguments[flag] or self.training
        if node.op in (EXPAND, FULL):
            arguments["size"] = with_batch(node.shape, batch)
        if node.op == FULL:
            arguments |= {"dtype": getattr(torch, node.dtype), "device": next(iter(values.values())).device}
            return torch.full(**arguments)
        given = {name: arguments[name] for name, kind in OPS[node.op] if kind != "none"}
        return operator(node.op)(**given)

    def _resolve(self, value: Argument, values: Mapping[str, Tensor]) -> Any:
        if isinstance(value, Ref):
            return values[value.name]
        if isinstance(value, Stored):
            return self.tensor(value.name)
        if isinstance(value, tuple):
            return [self._resolve(item, values) for item in value]
        return value


def need_traced(network: nn.Module, asker: str) -> GraphNetwork:
    """Return `network` as what it has to be.

    Raises:
        ConfigError: it is any other module.
    """
    if not isinstance(network, GraphNetwork):
        raise ConfigError(f"{asker}: needs a traced network; got {type(network).__name__}. Use wieldy.trace.")
    return network


def _parts(
    program: Program, arrays: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, nn.Module], dict[str, Tensor]]:
    """Return the leaf modules of a program by path, and the tensors that belong to none."""
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    leaves: dict[str, nn.Module] = {}
    for node in program.nodes:
        if node.module and node.module not in leaves:
            leaf = rebuild_leaf(node, tensors)
            if leaf is not None:
                leaves[node.module] = leaf
    owned = {f"{path}.{name}" for path, leaf in leaves.items() for name in leaf.state_dict()}
    loose = {
        name: nn.Parameter(tensor) if program.tensors[name].learned else tensor
        for name, tensor in tensors.items()
        if name not in owned
    }
    return leaves, loose


def _free(module: nn.Module, name: str) -> None:
    if name not in module._modules and hasattr(module, name):
        raise TraceError(
            f"network: a part named {name!r} collides with an attribute of the traced network. Rename it, "
            f"for instance to {name + '_'!r}."
        )


def _last_uses(program: Program) -> dict[str, list[str]]:
    """For each node, the values that nothing reads after it."""
    last: dict[str, str] = {}
    for node in program.nodes:
        for name in node.refs():
            last[name] = node.name
    ends: dict[str, list[str]] = {node.name: [] for node in program.nodes}
    for value, node_name in last.items():
        if value not in program.outputs:
            ends[node_name].append(value)
    return ends


def _refresh(leaf: nn.Module, node: Node) -> None:
    """Bring a leaf's own attributes up to date with its tensors."""
    if isinstance(leaf, nn.Conv2d):
        leaf.groups = node.groups
        leaf.out_channels, leaf.in_channels = leaf.weight.shape[0], leaf.weight.shape[1] * node.groups
    elif isinstance(leaf, nn.Linear):
        leaf.out_features, leaf.in_features = leaf.weight.shape
    elif isinstance(leaf, nn.PReLU):
        leaf.num_parameters = len(leaf.weight)
    elif isinstance(leaf, nn.GroupNorm):
        groups, channels = node.inputs["num_groups"], node.shape[1]
        assert isinstance(groups, int)
        assert channels is not None
        leaf.num_groups, leaf.num_channels = groups, channels
    elif isinstance(leaf, nn.modules.batchnorm._BatchNorm):
        assert leaf.running_mean is not None
        leaf.num_features = len(leaf.running_mean)
