"""Tools in a system text, and calls as text, for chat templates that know none of them.

The model is told the tools as JSON schemas, and to write a call as a JSON object between marks,
which is how Hermes models were trained and how most others have seen it. Imported by
`engine.prompting`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

_TOLD: Final = """\
You can call these tools. Each line is one of them as JSON, with the JSON schema of its arguments:
{tools}

To call one, write nothing but this, with the name of the tool and an object of arguments:
<tool_call>
{{"name": "...", "arguments": {{...}}}}
</tool_call>
Write one such block for each call. The results come in the next message."""


def system(tools: Iterable[Mapping[str, Any]], *, required: bool) -> str:
    """What the model is told of the tools, each in the form of OpenAI's API."""
    lines = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    told = _TOLD.format(tools=lines)
    return f"{told}\nYou have to call a tool now." if required else told


def call(name: str, arguments: str) -> str:
    """A call that was made; `arguments` are JSON text."""
    return f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {arguments}}}\n</tool_call>'


def result(content: str) -> str:
    """What a tool answered."""
    return f"<tool_response>\n{content}\n</tool_response>"
