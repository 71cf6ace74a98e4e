"""Arguments between tags in a grammar: `<parameter=city>Rome</parameter>` and the like.

They come in the order of the schema, and none that it does not list. Imported by `lazy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.chat_syntax.lark import pieces, schemas, texts
from engine.chat_syntax.lark.pieces import Controls
from engine.chat_syntax.lark.schemas import Unwritable
from engine.chat_syntax.tagged_calls import TaggedCalls, is_text

_NUMBERS: Final = {"integer": "number"}
"""How a tag calls a type."""


def rules(
    form: TaggedCalls, rule: str, schema: Mapping[str, Any] | None, controls: Controls
) -> str:
    """The rules for everything after the name of a call, the first of them `rule`.

    Where the call says more than its name, they begin after that.

    Raises:
        Unwritable: the schema cannot be held between these tags.
    """
    root = schema or {}
    members = schemas.named(root)
    writer = _Writer(form, root, controls)
    made = [writer.argument(f"{rule}_{place}", key) for place, (key, _) in enumerate(members)]
    order = [
        f"{rule}_{place}" if required else f"{rule}_{place}?"
        for place, (_, required) in enumerate(members)
    ]
    begin = (
        f"WS? {pieces.mark(form.call_end, controls)} " if form.plain and not form.tag_next else ""
    )
    close = pieces.mark(form.close, controls)
    return f"{rule}: {begin}{' '.join(['WS?', *order, close])}\n{''.join(made)}"


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the arguments of one tool."""

    form: TaggedCalls
    root: Mapping[str, Any]
    controls: Controls

    def argument(self, name: str, key: str) -> str:
        """The rules of one argument, the first of them `name`."""
        schema = self.root["properties"][key]
        schema = {} if schema is True else schema
        if not isinstance(schema, Mapping):
            raise Unwritable(f"the schema of {key}")
        if "{type}" not in self.form.typed:
            kind = "string" if is_text(self.root, key) else ""
            return self._value(name, key, schema, kind)
        options = schemas.typed(self.root, schema)
        if not options:
            raise Unwritable(f"no type of {key}")
        names = [f"{name}_{place}" for place in range(len(options))]
        made = [
            self._value(each, key, inner, inner["type"])
            for each, inner in zip(names, options, strict=True)
        ]
        return f"{name}: {' | '.join(names)}\n{''.join(made)}"

    def _value(self, name: str, key: str, schema: Mapping[str, Any], kind: str) -> str:
        """An argument whose value is of one kind, "" where tags do not say which."""
        form, controls = self.form, self.controls
        end = form.value_end.replace("{key}", key)
        begin = self._begin(key, kind)
        if kind == "string":
            alike = "{key}" not in form.value_end
            text, rules = texts.rules(
                f"{name}_text", schema, end, controls, alike=alike, folded=form.folded, marked=True
            )
            return f"{name}: {begin} {text} WS?\n{rules}"
        value, fold = pieces.part(self.root, schema), '"\\n"? ' if form.folded else ""
        return f"{name}: {begin} {fold}{value} {fold}{pieces.mark(end, controls)} WS?\n"

    def _begin(self, key: str, kind: str) -> str:
        """The tags before a value."""
        form = self.form
        label = form.typed.format(
            key=key, text=str(kind == "string").lower(), type=_NUMBERS.get(kind, kind)
        )
        again = form.key.fullmatch(label)
        if again is None or again["key"] != key or form.item_end in label or "<" in key:
            raise Unwritable(f"the name {key}")  # it would not be read back as it is meant
        head = pieces.mark(f"{form.item}{label}{form.item_end}", self.controls)
        return f"{head} WS? {pieces.mark(form.value, self.controls)}" if form.value else head
