"""Manifests as TOML: what services should be, to be kept under version control.

    [services.support]
    record_text = true

    [services.support.release]
    model = "ops@1.1.0"
    prompt = "concise@2"
    sampling = { temperature = 0.2 }

    [services.support.rollout]
    strategy = "canary"
    steps = ["5%", "50%", "100%"]

A service with several arms has `[[services.NAME.arms]]` instead, each with a `weight` in percent.
Only the form is checked here. Imported by `app.commands.manifests`.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import tomlkit

from app import errors, rollout_options
from storage import splits
from storage.release_content import Content
from storage.rollout_steps import OnLabel
from storage.services import Service

_FORM: Final = (
    "A manifest is TOML: [services.NAME] with record_text and perhaps staging_of and on_label, "
    "[services.NAME.rollout] as `paddock rollouts start -f` reads it, "
    "[services.NAME.release] with model, prompt, sampling, limits, engine, upstream or server; or "
    "[[services.NAME.arms]], each with these and a weight in percent. `paddock export` writes one."
)
_PERCENT: Final = 100
_KEYS: Final = {"record_text", "staging_of", "on_label", "release", "arms", "rollout"}


def read(file: Path) -> dict[str, dict[str, Any]]:
    """What a manifest says of each service, by name; `-` is standard input.

    Raises:
        errors.AppError: it cannot be read, or is no manifest; the message names the place.
    """
    text = _text(file)
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise errors.AppError(f"{file} is not TOML: {error}. {_FORM}") from error
    services = found.get("services")
    if unknown := sorted(set(found) - {"services"}):
        raise errors.AppError(f"{file} has unknown keys: {', '.join(unknown)}. {_FORM}")
    if not isinstance(services, dict) or not services:
        raise errors.AppError(f"{file} names no service. {_FORM}")
    return {name: _service(file, name, value) for name, value in services.items()}


def _text(file: Path) -> str:
    try:
        if str(file) == "-":
            return sys.stdin.read()
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise errors.AppError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise errors.AppError(f"{file} is not UTF-8 text; TOML is.") from error


def _service(file: Path, name: str, value: object) -> dict[str, Any]:
    where = f"{file}: services.{name}"
    if not isinstance(value, dict):
        raise errors.AppError(f"{where} is not a table. {_FORM}")
    if unknown := sorted(value.keys() - _KEYS):
        raise errors.AppError(f"{where} has unknown keys: {', '.join(unknown)}. {_FORM}")
    if ("release" in value) == ("arms" in value):
        raise errors.AppError(f"{where} needs either release or arms. {_FORM}")
    arms = value["arms"] if "arms" in value else [{"weight": _PERCENT, **_table(value, "release")}]
    if not isinstance(arms, list) or not all(isinstance(arm, dict) for arm in arms):
        raise errors.AppError(f"{where}.arms is not a list of tables. {_FORM}")
    return {
        "record_text": value.get("record_text", False),
        "staging_of": value.get("staging_of"),
        "on_label": _on_label(where, value.get("on_label")),
        "arms": [_arm(where, arm) for arm in arms],
        "rollout": _rollout(where, value["rollout"]) if "rollout" in value else None,
    }


def _on_label(where: str, given: object) -> str | None:
    """How labels are followed; None where the manifest leaves it as it is."""
    known = [each.value for each in OnLabel]
    if given is not None and given not in known:
        raise errors.AppError(f"{where}.on_label is {given!r}; it is one of {', '.join(known)}.")
    return None if given is None else str(given)


def _rollout(where: str, given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise errors.AppError(f"{where}.rollout is not a table. {_FORM}")
    try:
        rollout_options.check_names(given)
        return rollout_options.policy(given)
    except errors.BadWord as error:
        raise errors.AppError(f"{where}.rollout: {error}") from error


def _table(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = value[key]
    return table if isinstance(table, dict) else {key: table}


def _arm(where: str, arm: dict[str, Any]) -> dict[str, Any]:
    weight = arm.get("weight", _PERCENT)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise errors.AppError(f"{where}: the weight {weight!r} is not a number of percent.")
    points = round(weight * _PERCENT)
    if abs(points - weight * _PERCENT) > 1e-6:  # noqa: PLR2004 what binary fractions add
        raise errors.AppError(f"{where}: the weight {weight} is finer than 0.01 percent.")
    release = {key: each for key, each in arm.items() if key != "weight"}
    return {"weight_bp": points, "release": release}


def text(services: Iterable[tuple[Service, list[tuple[int, Content]]]]) -> str:
    """The manifest of services with their arms; reading it gives the same services."""
    document = tomlkit.document()
    nouns = tomlkit.table(is_super_table=True)
    for service, arms in services:
        table = tomlkit.table()
        table.add("record_text", service.record_text)
        if service.staging_of is not None:
            table.add("staging_of", service.staging_of)
        table.add("on_label", service.on_label.value)
        if len(arms) == 1:
            table.add("release", _written(arms[0][1]))
        else:
            several = tomlkit.aot()
            for points, content in arms:
                several.append(_written(content, {"weight": _weight(points)}))
            table.add("arms", several)
        if service.rollout_policy is not None:
            table.add("rollout", _rollout_table(rollout_options.written(service.rollout_policy)))
        nouns.add(service.name, table)
    document.add("services", nouns)
    return tomlkit.dumps(document)


def _rollout_table(values: Mapping[str, Any]) -> Any:
    table = tomlkit.table()
    for key, value in values.items():
        table.add(key, value)
    return table


def _weight(points: int) -> int | float:
    text = splits.percent(points).removesuffix(" %")
    return float(text) if "." in text else int(text)


def _written(content: Content, first: Mapping[str, Any] | None = None) -> Any:
    table = tomlkit.table()
    for key, value in (first or {}).items():
        table.add(key, value)
    if content.model is not None:
        table.add("model", content.model[0])
    if content.follows is not None:
        table.add("prompt", content.follows)
        table.add("follow", value=True)
    elif content.prompt is not None:
        table.add("prompt", content.prompt[0])
    for part in ("sampling", "limits", "engine", "upstream", "server"):
        settings = getattr(content, part)
        if settings is not None:
            table.add(part, _inline(msgspec.to_builtins(settings)))
    return table


def _inline(values: Mapping[str, Any]) -> Any:
    """Every value in force, so that the manifest means the same when a default changes."""
    table = tomlkit.inline_table()
    for key, value in values.items():
        if value is not None and value != {}:  # TOML has no null; None is each such default
            table.add(key, _inline(value) if isinstance(value, dict) else value)
    return table
