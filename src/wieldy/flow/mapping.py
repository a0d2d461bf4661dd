"""Reading a YAML mapping of which every complaint can name the line."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wieldy.core.errors import ConfigError
from wieldy.core.optional import need

Key = tuple[str, ...]
MOST_BYTES = 1 << 20


def read_mapping(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    """Return the mapping in a file, and the line of every key in it.

    Refused beside what is no YAML: a key that stands twice, of which YAML would keep the last in silence, and
    aliases, by which a few lines grow to gigabytes.

    Raises:
        ConfigError: no such file, too large, no YAML, or no mapping; names the line.
    """
    yaml = need("yaml", "compress", "reading recipes")
    text = _text(path)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError(
                    f"{path}, line {_line(event)}: *{event.anchor} repeats a part of the file, which is not "
                    "read. Write it out."
                )
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        raw = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        found = getattr(error, "problem", None) or " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}{where}: is no YAML ({found}).") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a mapping of keys to values; got {type(raw).__name__}.")
    return raw, dict(_lines(path, node, ()))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(
                f"{path}: a recipe has at most {MOST_BYTES:,} bytes; got {path.stat().st_size:,}."
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no YAML ({error.reason} at byte {error.start}).") from None


def _lines(path: Path, node: Any, above: Key) -> Iterator[tuple[Key, int]]:
    """Yield each key of a mapping and of those in it, with its line."""
    if node.id == "sequence":
        for index, item in enumerate(node.value):
            yield (*above, str(index)), _line(item)
            yield from _lines(path, item, (*above, str(index)))
    if node.id != "mapping":
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), _line(key)
        if name in seen:
            raise ConfigError(
                f"{path}, line {line}: {name!r} stands twice, first in line {seen[name]}. Keep one."
            )
        seen[name] = line
        yield (*above, name), line
        yield from _lines(path, value, (*above, name))


def _line(of: Any) -> int:
    return int(of.start_mark.line) + 1


def located(error: ConfigError, path: Path, lines: Mapping[Key, int]) -> ConfigError:
    """Return an error with the file, and the line of the setting that it is about or of what holds that."""
    key = error.key
    while key and key not in lines:
        key = key[:-1]
    where = f", line {lines[key]}" if key else ""
    return ConfigError(f"{path}{where}: {error}", error.key)
