"""Prompts as files: TOML with messages and variables, or plain text as the system message.

It checks the form only; what a prompt may contain is checked by control. Imported by
`app.commands.prompts` and `app.demo.setup`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from app import errors
from storage import prompt_content, prompts
from storage.prompts import PromptVersion

_FORM: Final = (
    "A prompt file is TOML: prompt = NAME, then [[messages]] with role and template, "
    "and perhaps [[variables]] with name, type, default, required; tag, parent, response_schema."
)


def read(file: Path, name: str | None) -> dict[str, Any]:
    """The arguments of `prompts.add` out of a file."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise errors.AppError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise errors.AppError(f"{file} is not UTF-8 text; prompts are.") from error
    if file.suffix != ".toml":
        return {
            "prompt": name or file.stem,
            "messages": [{"role": "system", "template": text.rstrip("\n")}],
            "variables": [],
        }
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise errors.AppError(f"{file} is not TOML: {error}. {_FORM}") from error
    if not isinstance(found.get("messages"), list):
        raise errors.AppError(f"{file} has no [[messages]]. {_FORM}")
    known = {"prompt", "messages", "variables", "response_schema", "tag", "parent", "comment"}
    if unknown := sorted(set(found) - known):
        raise errors.AppError(f"{file} has unknown keys: {', '.join(unknown)}. {_FORM}")
    return {"variables": [], **found, "prompt": name or found.get("prompt") or file.stem}


def variables(version: PromptVersion, typed: Iterable[str]) -> dict[str, Any]:
    """Variables as they are typed, NAME=VALUE, as the types that the version declares.

    Raises:
        errors.BadWord: one cannot be read; the message names the variable.
    """
    declared = {variable.name: variable for variable in version.variables}
    found: dict[str, Any] = {}
    for each in typed:
        name, equals, text = each.partition("=")
        if not equals:
            raise errors.BadWord(f"--var {each!r}: write NAME=VALUE.")
        kind: prompts.Type = declared[name].type if name in declared else "string"
        try:
            found[name] = prompt_content.value(text, kind)
        except ValueError as error:
            raise errors.BadWord(f"Variable {name} of {version.name}: {error}.") from None
    return found
