"""Makes `transformers_table.json`: how transformers renders the templates of real models.

`python -m tests.engine.prompting.transformers_table FOLDER` in an environment with transformers,
which the project does not need; FOLDER holds the templates of llama.cpp. Each text is kept as a
hash, None where transformers refuses. The cases are also what the test gives to our renderer.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

TABLE: Final = Path(__file__).with_suffix(".json")
BOS: Final = "<s>"
EOS: Final = "</s>"
USER: Final = {"role": "user", "content": "Which disk is full?"}
ASSISTANT: Final = {"role": "assistant", "content": "The second one."}
SYSTEM: Final = {"role": "system", "content": "Answer briefly."}
TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "disks",
        "description": "List <disks> & their use",
        "parameters": {
            "type": "object",
            "properties": {"host": {"type": "string", "description": "Its name"}},
            "required": ["host"],
        },
    },
}
CALL: Final = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "call00001", "type": "function",
     "function": {"name": "disks", "arguments": {"host": "db-1"}}}]}  # fmt: skip
RESULT: Final = {"role": "tool", "tool_call_id": "call00001", "name": "disks", "content": "sdb"}
ON: Final = {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}
OFF: Final = {"enable_thinking": False, "thinking": False}
CONVERSATIONS: Final[dict[str, list[dict[str, Any]]]] = {
    "a user": [USER],
    "turns": [USER, ASSISTANT, USER],
    "a system": [SYSTEM, USER],
    "a system and turns": [SYSTEM, USER, ASSISTANT, USER],
    "a call": [SYSTEM, USER, CALL, RESULT],
}
ARGUMENTS: Final[dict[str, dict[str, Any]]] = {"": {}, "thinking": ON, "no thinking": OFF}
_DATES: Final = ("%d %b %Y", "%Y-%m-%d", "%B %d, %Y", "%d %B %Y", "%Y/%m/%d", "%b %d %Y")


def cases() -> Iterator[tuple[str, list[dict[str, Any]], bool, dict[str, Any]]]:
    """Name, messages, whether there are tools, and arguments."""
    for said, tools, how in itertools.product(CONVERSATIONS, (False, True), ARGUMENTS):
        if tools or said != "a call":
            name = ", ".join(filter(None, (said, "tools" if tools else "", how)))
            yield name, CONVERSATIONS[said], tools, ARGUMENTS[how]


def digest(text: str) -> str:
    """Of a rendering, whatever the day."""
    now = datetime.now(UTC)
    for form in _DATES:
        text = text.replace(now.strftime(form), "DATE")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def written(messages: list[dict[str, Any]], *, objects: bool, null: bool) -> list[dict[str, Any]]:
    """The messages with calls in one of the forms that templates take."""
    turns: list[dict[str, Any]] = json.loads(json.dumps(messages))
    for call in (call for turn in turns for call in turn.get("tool_calls", ())):
        if not objects:
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    for turn in turns:
        if null and "tool_calls" in turn:
            turn["content"] = None
    return turns


def main() -> None:
    """Write the table."""
    utils = importlib.import_module("transformers.utils.chat_template_utils")

    def render(source: str, messages: Any, tools: Any, arguments: Any) -> str | None:
        try:
            (text,), _ = utils.render_jinja_template(
                [messages], tools=tools, chat_template=source, add_generation_prompt=True,
                bos_token=BOS, eos_token=EOS, **arguments,
            )  # fmt: skip
        except Exception:  # noqa: BLE001 a template can raise anything
            return None
        return str(text)

    table: dict[str, dict[str, str | None]] = {}
    for path in sorted(Path(sys.argv[1]).glob("*.jinja")):
        source, rows = path.read_text(), dict[str, str | None]()
        for name, messages, tools, arguments in cases():
            text = None
            for objects, null in ((True, False), (True, True), (False, False), (False, True)):
                turns = written(messages, objects=objects, null=null)
                text = render(source, turns, [TOOL] if tools else None, arguments)
                if text is not None and ("db-1" in text or "a call" not in name):
                    break
            rows[name] = None if text is None else digest(text)
        table[path.stem] = rows
    TABLE.write_text(json.dumps(table, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
