"""Tables of moves drawn for `docs/states.md`: a Mermaid diagram and the story of each state."""

from __future__ import annotations

import inspect
import re
from typing import Any

from storage import moves


def mermaid(table: moves.Table[Any]) -> str:
    """The table as a state diagram in Mermaid's language."""
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {state}" for state in sorted(table.begins)]
    lines += [f"    {frm} --> {to}" for frm, follow in table.legal.items() for to in sorted(follow)]
    lines += [f"    {state} --> [*]" for state in sorted(table.ends())]
    return "\n".join(lines) + "\n"


def chapter(table: moves.Table[Any]) -> str:
    """The table for a document: its noun, its diagram, and what its enum tells of each state."""
    (enum,) = {type(state) for state in table.legal}
    about, *rest = re.split(r"(?m)^(?=[A-Z_]+: )", inspect.cleandoc(enum.__doc__ or ""))
    told = dict(each.split(": ", 1) for each in rest)
    lines = [f"## {table.noun}", "", " ".join(about.split()), ""]
    lines += ["```mermaid", mermaid(table).rstrip(), "```", ""]
    lines += [f"- **{state.value}**: {' '.join(told[state.name].split())}" for state in table.legal]
    return "\n".join(lines) + "\n"
