"""Prompts as a tree of files, for version control: `<name>/<number>/` holds one version.

`prompt.toml` has everything but the texts: each message is a file of its own, `01-system.jinja`,
byte for byte, and a response schema is `response_schema.json`. Reading checks the form and the
hash; what a prompt may contain is checked by control. Labels are not in the tree: moving one is a
change of what is served. Imported by `app.commands.prompt_trees`.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import stat
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import tomlkit

from app import errors
from storage import names, prompt_content
from storage.prompts import Message, PromptVersion, Variable

META: Final = "prompt.toml"
SCHEMA: Final = "response_schema.json"
LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a file; a prompt's templates hold less together."""
_NAME: Final = re.compile(names.PATTERN)
_MESSAGE: Final = re.compile(r"(\d{2,3})-(system|user|assistant)\.jinja")
_NUMBER: Final = re.compile(r"[1-9]\d{0,8}")
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_KEYS: Final = {"author", "comment", "created_at", "tag", "parent", "sha256", "variables"}


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `prompt.toml` may hold; a version written by hand needs none of it."""

    author: str | None = None
    comment: str = ""
    created_at: dt.datetime | None = None
    tag: str | None = None
    parent: int | None = None
    sha256: str | None = None
    variables: tuple[Variable, ...] = ()


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A version as a tree has it: the arguments of its import, and the hash of its content."""

    prompt: str
    number: int
    sha256: str
    arguments: dict[str, Any]

    @property
    def name(self) -> str:
        """As people write it: terse@3."""
        return f"{self.prompt}@{self.number}"


def files(version: PromptVersion) -> dict[str, bytes]:
    """The files of a version by name."""
    document = tomlkit.document()
    document.add("author", tomlkit.item(version.author))
    document.add("comment", tomlkit.item(version.comment))
    document.add("created_at", tomlkit.item(_moment(version.created_at_us)))
    if version.tag is not None:
        document.add("tag", tomlkit.item(version.tag))
    if version.parent is not None:
        document.add("parent", tomlkit.item(version.parent))
    document.add("sha256", tomlkit.item(version.sha256))
    if version.variables:
        declared = tomlkit.aot()
        for variable in version.variables:
            table = tomlkit.table()
            for key, value in msgspec.to_builtins(variable).items():
                if value is not None:
                    table.add(key, value)
            declared.append(table)
        document.add("variables", declared)
    found = {META: tomlkit.dumps(document).encode()}
    for n, message in enumerate(version.messages, 1):
        found[f"{n:02}-{message.role}.jinja"] = message.template.encode()
    if version.response_schema is not None:
        raw = msgspec.json.encode(version.response_schema, order="sorted")
        found[SCHEMA] = msgspec.json.format(raw, indent=2) + b"\n"
    return found


def write(root: Path, versions: Iterable[PromptVersion]) -> tuple[list[str], list[str]]:
    """Write versions below a directory; the names of those written, and of those that were there.

    A version appears as a whole: its directory is filled beside its place and then renamed.

    Raises:
        errors.AppError: a version is there with other files, or nothing can be written there.
    """
    wanted = [(root / each.prompt / str(each.number), each, files(each)) for each in versions]
    there: list[str] = []
    try:
        for place, each, content in wanted:
            if place.is_dir():
                if _present(place) != content:
                    raise errors.AppError(
                        f"{place} holds another {each.name} than this box; nothing was written. "
                        "Move it away, or export into another directory."
                    )
                there.append(each.name)
        written = []
        for place, each, content in wanted:
            if each.name not in there:
                _write(place, content)
                written.append(each.name)
    except OSError as error:
        raise errors.AppError(f"{error.filename or root}: {error.strerror}.") from error
    return written, there


def _present(place: Path) -> dict[str, bytes]:
    return {path.name: _bytes(path) for path in sorted(place.iterdir())}


def _write(place: Path, content: dict[str, bytes]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.{os.getpid()}.new")
    try:
        draft.mkdir()
        for name, raw in content.items():
            (draft / name).write_bytes(raw)
        draft.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read(root: Path, only: Iterable[str] = ()) -> list[Read]:
    """The versions below a directory, by prompt and number; `only` of the prompts named.

    Directories whose names begin with a dot are left out, such as `.git`.

    Raises:
        errors.AppError: something below it is no such tree; the message names the file.
    """
    wanted = set(only)
    try:
        prompts = {path.name: path for path in root.iterdir() if not path.name.startswith(".")}
    except OSError as error:
        raise errors.AppError(f"{root} cannot be read: {error.strerror}.") from error
    if missing := sorted(wanted - prompts.keys()):
        raise errors.AppError(f"{root} holds no prompt {missing[0]}.")
    found: list[Read] = []
    for name, path in sorted(prompts.items()):
        if (wanted and name not in wanted) or not path.is_dir():
            continue
        if not _NAME.fullmatch(name):
            raise errors.AppError(f"{path} cannot be a prompt's name: use a-z 0-9 _ . - only.")
        numbers = []
        for each in path.iterdir():
            if each.name.startswith("."):
                continue
            if not _NUMBER.fullmatch(each.name) or not each.is_dir():
                raise errors.AppError(
                    f"{each} is not a version: a version is a directory {name}/1."
                )
            numbers.append(int(each.name))
        found += [_version(path / str(number), name, number) for number in sorted(numbers)]
    if not found:
        raise errors.AppError(f"{root} holds no prompts: a version is a directory {root}/NAME/1.")
    return found


def parts(versions: Sequence[Read], most: int) -> list[list[Read]]:
    """The versions in their order, divided so that the JSON of a part has at most `most` bytes.

    A version that is larger is a part of its own.
    """
    found: list[list[Read]] = []
    left = 0
    for each in versions:
        size = len(msgspec.json.encode(each.arguments)) + 1
        if not found or size > left:
            found.append([])
            left = most - 1
        found[-1].append(each)
        left -= size
    return found


def _version(place: Path, prompt: str, number: int) -> Read:
    content = _present(place)
    meta = _meta(place / META, content.pop(META, b""))
    schema = content.pop(SCHEMA, None)
    messages: dict[int, Message] = {}
    for name, raw in content.items():
        match = _MESSAGE.fullmatch(name)
        if match is None:
            raise errors.AppError(
                f"{place / name} belongs to no version: messages are files like 01-system.jinja."
            )
        text = _text(place / name, raw)
        messages[int(match[1])] = Message(role=match[2], template=text)  # type: ignore[arg-type]
    if sorted(messages) != list(range(1, len(content) + 1)) or not messages:
        raise errors.AppError(f"The messages of {place} are not numbered 01, 02, … without a gap.")
    ordered = [messages[n] for n in sorted(messages)]
    parsed = None if schema is None else _schema(place / SCHEMA, schema)
    sha256 = prompt_content.sha256(ordered, meta.variables, parsed)
    if meta.sha256 not in {None, sha256}:
        raise errors.AppError(
            f"{place} was changed after it was exported: its content is not the one of its sha256. "
            f"A version never changes; put the change into {prompt}/{number + 1}, without sha256."
        )
    arguments = {
        "prompt": prompt,
        "number": number,
        "messages": msgspec.to_builtins(ordered),
        "variables": msgspec.to_builtins(meta.variables),
        "response_schema": parsed,
        "tag": meta.tag,
        "parent": meta.parent,
        "author": meta.author,
        "comment": meta.comment,
        "created_at_us": None if meta.created_at is None else _us(place, meta.created_at),
    }
    given = {key: value for key, value in arguments.items() if value is not None}
    return Read(prompt=prompt, number=number, sha256=sha256, arguments=given)


def _meta(path: Path, raw: bytes) -> File:
    try:
        return msgspec.convert(tomllib.loads(_text(path, raw)), File)
    except tomllib.TOMLDecodeError as error:
        raise errors.AppError(f"{path} is not TOML: {error}.") from error
    except msgspec.ValidationError as error:
        raise errors.AppError(
            f"{path}: {error}; it may hold {', '.join(sorted(_KEYS))}."
        ) from error


def _schema(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise errors.AppError(f"{path} is not a JSON object: {error}.") from error


def _text(path: Path, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise errors.AppError(f"{path} is not UTF-8 text; prompts are.") from error


def _bytes(path: Path) -> bytes:
    """A regular file, whole. A link might lead anywhere, and a pipe would be read for ever."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise errors.AppError(f"{path} is not a regular file; rename or remove it.")
        if found.st_size > LIMIT:
            raise errors.AppError(f"{path} has {found.st_size} bytes; at most {LIMIT} are read.")
        return path.read_bytes()
    except OSError as error:
        raise errors.AppError(f"{path} cannot be read: {error.strerror}.") from error


def _moment(us: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=us)


def _us(place: Path, moment: dt.datetime) -> int:
    if moment.tzinfo is None:
        raise errors.AppError(f"{place / META}: created_at has no time zone; write …Z for UTC.")
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)
