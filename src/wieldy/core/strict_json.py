"""JSON of which two readers cannot see different things: what is doubtful is refused."""

import json
import math
from typing import Any

LARGEST = 2**63 - 1  # of a whole number: what every other reader can hold


def loads(data: str | bytes) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises:
        ValueError: it is none, or it holds a key twice in one object, a number that is not finite, or a whole
            number of more than 64 bits. Other encodings are refused too.
        RecursionError: it is nested too deeply.

    Example:
        >>> loads(b'{"a": [1, 2.5]}')
        {'a': [1, 2.5]}
        >>> loads('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: the key 'a' stands twice in one object
    """
    text = data if isinstance(data, str) else data.decode("utf-8")
    return json.loads(
        text, object_pairs_hook=_once, parse_int=_whole, parse_float=_finite, parse_constant=_constant
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.80} stands twice in one object")
    return found


def _whole(text: str) -> int:
    if len(text) > len(str(-LARGEST)) or abs(int(text)) > LARGEST:
        raise ValueError(f"the number {text:.24} ... has more than 64 bits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text:.24} is not finite")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")
