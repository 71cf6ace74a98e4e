"""The JSON Schema of runbooks, made from the model and the probes.

It says which form a verb has and not which verbs there are: those belong to a version of Paddock,
and `lint` knows them. `docs/runbook.schema.json` is its text; a test holds them together. Imported
by `app.commands`.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec

from runbooks.probes import PROBES
from runbooks.steps import Runbook

ID: Final = "https://paddock.invalid/schemas/runbook.json"
_VERB: Final = r"^[a-z_]+\.[a-z_]+$"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def document() -> dict[str, Any]:
    """The schema."""
    made = msgspec.json.schema(Runbook)
    parts = made["$defs"]
    for name in ("Look", "Verify", "Condition"):
        parts[name]["properties"]["probe"]["enum"] = sorted(PROBES)
    parts["Do"]["properties"]["verb"]["pattern"] = _VERB
    for part in parts.values():
        if "description" in part:  # Python 3.13 strips the indentation of docstrings, 3.11 does not
            part["description"] = inspect.cleandoc(part["description"])
    return {"$schema": _DIALECT, "$id": ID, "title": "Paddock runbook", **made}


def text() -> str:
    """The schema as a file."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=2).decode() + "\n"
