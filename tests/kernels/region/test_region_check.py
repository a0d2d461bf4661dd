"""What joining values asks: one height and width, and of levels one meaning and whole words."""

import pytest

from wieldy.core.errors import ConfigError, ShapeError
from wieldy.kernels.region.check import check_concat, check_joined_levels
from wieldy.kernels.region.ops import Concat, Levels, Size

KNOWN = Levels(0.5, 3)
BOTH = Concat(("a", "b"), "y")


@pytest.mark.parametrize("other", [Size(4, 8, 9), Size(4, 9, 8)])
def test_values_of_other_sizes_are_not_joined(other: Size) -> None:
    with pytest.raises(ShapeError, match="y: what is joined must be of one height and width"):
        check_concat(BOTH, {"a": Size(4, 9, 9), "b": other})


def test_nothing_is_not_joined() -> None:
    with pytest.raises(ShapeError, match="must be of one height and width; got"):
        check_concat(Concat((), "y"), {})


def test_only_the_last_of_levels_that_are_joined_may_leave_a_word_open() -> None:
    levels = dict.fromkeys(("a", "b", "y"), KNOWN)
    check_joined_levels([BOTH], levels, {"a": Size(8, 9, 9), "b": Size(3, 9, 9)})
    check_joined_levels([BOTH], {}, {"a": Size(3, 9, 9), "b": Size(8, 9, 9)})  # numbers are one by one
    with pytest.raises(ConfigError, match="y: the channels of 'a' must fill words of 4; it has 3"):
        check_joined_levels([BOTH], levels, {"a": Size(3, 9, 9), "b": Size(8, 9, 9)})


def test_levels_that_mean_something_else_are_not_joined() -> None:
    levels = {"a": KNOWN, "b": Levels(0.25, 3), "y": KNOWN}
    with pytest.raises(ConfigError, match="y: must have the levels of all it joins; 'b' has others"):
        check_joined_levels([BOTH], levels, dict.fromkeys(("a", "b"), Size(4, 9, 9)))
