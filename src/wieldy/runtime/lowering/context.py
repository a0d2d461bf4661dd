"""What the function of one operator is handed: its node's arguments, ready for OpenVINO."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.formats.integer import IntegerFormat
from wieldy.graph.program import FLOAT, Node, Stored, with_batch


@dataclass
class Lowered:
    """One node's arguments, ready for OpenVINO: values as nodes, tensors as arrays, literals as they are."""

    node: Node
    ops: Any  # openvino.opset15
    given: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    batch: int
    integers: Mapping[str, IntegerFormat]  # by tensor, of weights that are multiplied as whole numbers

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    @property
    def shape(self) -> tuple[int, ...]:
        """What the node yields for this batch."""
        return with_batch(self.node.shape, self.batch)

    def constant(self, value: Any, dtype: Any = np.float32) -> Any:
        """Return an OpenVINO constant."""
        return self.ops.constant(np.asarray(value, dtype))

    def weight(self, shape: tuple[int, ...] | None = None, rows: int = 1) -> Any:
        """Return the weight, as numbers or as levels times scales; the first `rows` axes count its rows."""
        array, stored = self.arrays["weight"], self.node.inputs["weight"]
        assert isinstance(stored, Stored)
        shape = array.shape if shape is None else shape
        form = self.integers.get(stored.name)
        if form is None:
            return self.ops.constant(np.ascontiguousarray(array.reshape(shape)), name=stored.name)
        levels = self.ops.constant(form.levels(array).reshape(shape), name=stored.name)
        scales = form.scales(array).reshape(*shape[:rows], *(1,) * (len(shape) - rows))
        return self.ops.multiply(self.ops.convert(levels, "f32"), self.constant(scales))

    def whole(self, values: Any) -> Any:
        """Return a constant of whole numbers."""
        return self.constant(values, np.int64)

    def typed(self, value: Any, dtype: str) -> Any:
        """Return a value or a number as an output of this dtype."""
        if isinstance(value, (bool, int, float)):
            return self.constant(value, np.dtype(dtype)).output(0)
        if value.get_element_type().to_dtype() == np.dtype(dtype):
            return value
        return self.ops.convert(value, OPENVINO_TYPES[dtype]).output(0)


OPENVINO_TYPES = {FLOAT: "f32", "int64": "i64", "bool": "boolean"}
Lowering = Callable[[Lowered], Any]
