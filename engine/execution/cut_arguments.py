"""The arguments of a call in an earlier turn, which the end of its answer may have cut.

Clients send such a call back as they got it, while templates and upstreams read objects only.
Pure. Imported by its neighbours and by the gateway.
"""

from __future__ import annotations

import json

import msgspec
import pydantic_core


def whole(arguments: str) -> str | None:
    """The JSON object in a text, completed if the text ends inside it; None for other text.

    A complete object is returned as it was written.
    """
    try:
        found = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return _mended(arguments)
    except (RecursionError, UnicodeError):
        return None
    return arguments if isinstance(found, dict) else None


def _mended(arguments: str) -> str | None:
    try:
        json.JSONDecoder().raw_decode(arguments.lstrip())
    except ValueError:
        pass
    else:
        return None  # it is at fault in another way than by its end
    try:
        found = pydantic_core.from_json(arguments.encode(), allow_partial="trailing-strings")
        made = json.dumps(found, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return made if isinstance(found, dict) else None
