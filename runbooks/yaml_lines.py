"""YAML with the line of each part, so that an error can say where it is.

Booleans are `true` and `false` alone (YAML 1.2), so that `on:` and `no` are words. Imported by
`runbooks.parsing`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import yaml

Path = tuple[str | int, ...]

_PART: Final = re.compile(r"\.(\w+)|\[(\d+)\]")


class _Loader(yaml.SafeLoader):
    """Safe, and without the booleans of YAML 1.1."""


_Loader.yaml_implicit_resolvers = {
    first: [each for each in known if each[0] != "tag:yaml.org,2002:bool"]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class Document:
    """A parsed document: what it says, and where."""

    def __init__(self, text: str) -> None:
        """Parse it.

        Raises:
            yaml.YAMLError: it is not YAML, or gives a key twice, of which one would be ignored.
        """
        self.said: Any = yaml.load(text, Loader=_Loader)  # noqa: S506 a SafeLoader
        self._root = yaml.compose(text, Loader=_Loader)
        _once(self._root, set())

    def line(self, path: Iterable[str | int]) -> int:
        """The line of a part, or of the nearest enclosing one that has a line; from 1."""
        node, line = self._root, 1
        if node is not None:
            line = node.start_mark.line + 1
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line + 1
        return line


def _once(node: Any, seen: set[int]) -> None:
    """Refuse a key that its mapping has already; `seen` are nodes, for aliases repeat them."""
    if id(node) in seen:
        return
    seen.add(id(node))
    keys: set[str] = set()
    for part in node.value if isinstance(node, yaml.CollectionNode) else ():
        key, value = part if isinstance(part, tuple) else (None, part)
        if isinstance(key, yaml.ScalarNode):
            if key.value in keys:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} is given twice", problem_mark=key.start_mark
                )
            keys.add(key.value)
        _once(value, seen)


def path(said: str) -> Path:
    """The path that an error of msgspec names: $.steps[0].look as ("steps", 0, "look")."""
    at = said.find("`$")
    if at < 0:
        return ()
    known = said[at + 2 : said.find("`", at + 1)].partition("[...]")[0]
    return tuple(word or int(number) for word, number in _PART.findall(known))


def _child(node: Any, part: str | int) -> tuple[Any, Any] | None:
    """The node that says where a part begins, and the part itself."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None
