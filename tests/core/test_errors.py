import re

import pytest

from wieldy.core import errors

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.WieldyError)
}


def drawn_tree() -> dict[str, tuple[str, int]]:
    """Each class of the module's docstring, with its parent and its exit code."""
    found: dict[str, tuple[str, int]] = {}
    path: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        match = re.search(r"[├└]── (\w+)\s+(\d)?|^    (WieldyError)", line)
        if not match:
            continue
        name = match[1] or match[3]
        while path and path[-1][0] >= match.start():
            path.pop()
        parent = path[-1][1] if path else ""
        code = int(match[2]) if match[2] else found.get(parent, ("", errors.EXIT_INTERNAL))[1]
        found[name] = (parent, code)
        path.append((match.start(), name))
    return found


def test_the_drawn_tree_is_the_classes():
    assert set(drawn_tree()) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_drawn_parent_and_exit_code_are_the_class_s_own(name):
    parent, code = drawn_tree()[name]
    kind = CLASSES[name]
    assert kind.exit_code == code
    assert kind.__base__ is (CLASSES[parent] if parent else Exception)


def test_exit_codes_are_those_of_the_command_line():
    assert {kind.exit_code for kind in CLASSES.values()} == {1, 2, 3}
    assert (errors.EXIT_MET, errors.EXIT_INTERRUPTED) == (0, 130)


@pytest.mark.parametrize("kind", CLASSES.values())
def test_every_error_says_when_it_is_raised(kind):
    assert kind.__doc__
