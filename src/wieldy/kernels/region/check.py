"""What joining values asks of them."""

from collections.abc import Iterable, Mapping

from wieldy.core.errors import ConfigError, ShapeError
from wieldy.kernels.region.level_steps import BYTES
from wieldy.kernels.region.ops import Concat, Levels, Op, Size


def check_concat(op: Concat, sizes: Mapping[str, Size]) -> Size:
    """Return the size of values that are joined.

    Raises:
        ShapeError: there are none, or their heights or widths differ.

    Example:
        >>> check_concat(Concat(("a", "b"), "y"), {"a": Size(4, 9, 9), "b": Size(3, 9, 9)})
        Size(channels=7, height=9, width=9)
    """
    found = [sizes[name] for name in op.sources]
    extents = {(size.height, size.width) for size in found}
    if len(extents) != 1:
        raise ShapeError(
            f"{op.target}: what is joined must be of one height and width; got {sorted(extents)}."
        )
    return Size(sum(size.channels for size in found), *extents.pop())


def check_joined_levels(ops: Iterable[Op], levels: Mapping[str, Levels], sizes: Mapping[str, Size]) -> None:
    """Refuse levels that are joined and do not mean the same, or would share words.

    Raises:
        ConfigError: names the value.
    """
    for op in ops:
        if not isinstance(op, Concat) or op.target not in levels:
            continue
        for name in op.sources:
            if levels[name] != levels[op.target]:
                raise ConfigError(f"{op.target}: must have the levels of all it joins; {name!r} has others.")
        for name in op.sources[:-1]:
            if sizes[name].channels % BYTES:
                raise ConfigError(
                    f"{op.target}: the channels of {name!r} must fill words of {BYTES}; it has "
                    f"{sizes[name].channels}."
                )
