"""The tensors that an exported graph holds: the model's own, folded constants, and parts of parameters."""

import operator
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node as FxNode

from wieldy.core.errors import TraceError
from wieldy.graph.constants import Constants, stored_form
from wieldy.graph.program import DTYPES

CONSTANTS = "constants"  # the module under which folded constants lie


class StoredTensors:
    """Which fx nodes are stored tensors, by name; of a tensor with several names, the first.

    What follows from constants alone is computed here and becomes a constant of its own. A part or a turned
    view of a parameter becomes a parameter in the place of the whole: it is learned as it is used.
    """

    def __init__(self, exported: ExportedProgram, model: nn.Module) -> None:
        signature = exported.graph_signature
        self._model, self._exported = model, exported
        named = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        first = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
        self.names = {fx: first.get(id(self._attribute(name)), name) for fx, name in named.items()}
        self.made: dict[str, Tensor] = {}  # of constants and parts
        self._parts: dict[str, str] = {}  # of a parameter, by its name -> the parameter's
        self._constants = Constants({fx: self.held(name) for fx, name in named.items()})

    def __contains__(self, fx: FxNode) -> bool:
        return fx.name in self.names

    def name(self, fx: FxNode) -> str:
        """Return the name of the tensor that an fx node is."""
        name: str = self.names[fx.name]
        return name

    def alias(self, fx: FxNode, source: FxNode) -> None:
        """Let an fx node be the same tensor as another."""
        self.names[fx.name] = self.names[source.name]

    def fold(self, fx: FxNode) -> bool:
        """Compute what follows from constants alone; False where it does not."""
        found = self._constants.fold(fx)
        if found is None:
            return False
        name = f"{CONSTANTS}.of_{fx.name}"  # a name that no module has itself
        self.made[name] = stored_form(found)
        self.names[fx.name] = name
        return True

    def changed(self, fx: FxNode, source: FxNode) -> None:
        """An in-place operator on a constant: whoever reads it from here on sees the result."""
        self._constants.replace(source, fx)
        self.names[source.name] = self.names[fx.name]

    def is_own(self, fx: FxNode) -> bool:
        """Whether a tensor is the model's, not a constant that was folded."""
        return self.names[fx.name] not in self.made

    def part(self, fx: FxNode, origin: FxNode) -> None:
        """Make a tensor of its own of a view of another; `fx` takes it, as one piece of several or alone."""
        whole = self.tensor(self.name(origin))
        with torch.no_grad():
            if fx.target is operator.getitem:
                cutter, place = fx.args
                pieces = cutter.target(whole, *cutter.args[1:], **cutter.kwargs)  # type: ignore[union-attr, operator]
                found = pieces[place]
            else:
                found = fx.target(whole, *fx.args[1:], **fx.kwargs)  # type: ignore[operator]
        found = found.detach().clone(memory_format=torch.contiguous_format)
        name = f"{self.name(origin)}_{fx.name}"
        if isinstance(whole, nn.Parameter):
            found = nn.Parameter(found, whole.requires_grad)
            self._parts[name] = self.name(origin)
        self.made[name] = found
        self.names[fx.name] = name

    def check(self, used: Collection[str]) -> None:
        """Raise TraceError where a parameter is used whole and in parts: both would be learned apart."""
        for name, whole in self._parts.items():
            if name in used and whole in used:
                raise TraceError(
                    f"{whole}: is used whole and in parts, or turned. Store it twice, or in the parts that "
                    "are used."
                )

    def tensor(self, name: str) -> Tensor:
        """Return a tensor that a program may hold.

        Raises:
            TraceError: of another dtype, or not finite.
        """
        tensor = self.made[name] if name in self.made else self.held(name)
        if str(tensor.dtype).removeprefix("torch.") not in DTYPES:
            raise TraceError(
                f"{name}: must be {', '.join(DTYPES)}; got {tensor.dtype}. Store it as one of them."
            )
        if not torch.isfinite(tensor).all():
            raise TraceError(f"{name}: must be finite; it holds NaN or infinity.")
        return tensor

    def held(self, name: str) -> Tensor:
        """Return a tensor of the model, or one that export lifted out of its code."""
        found = self._attribute(name)
        tensor = found if isinstance(found, Tensor) else self._exported.constants[name]
        assert isinstance(tensor, Tensor)
        return tensor

    def _attribute(self, name: str) -> object:
        path, _, last = name.rpartition(".")
        return getattr(self._model.get_submodule(path), last, None)
