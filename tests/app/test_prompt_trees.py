"""Prompts as files: the round trip is exact, and what is no tree is refused with its file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import errors, prompt_trees
from storage import prompts
from storage.control_socket import verbs
from storage.prompts import Message, PromptVersion, Variable

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,9}", fullmatch=True)
values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text | st.lists(text)
schemas = st.none() | st.dictionaries(text, values, max_size=3)


@st.composite
def trees(draw: st.DrawFn) -> list[PromptVersion]:
    """All versions of one prompt, whatever they hold."""
    prompt, found = draw(names), []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        messages = tuple(
            Message(role=draw(st.sampled_from(["system", "user", "assistant"])), template=each)
            for each in draw(st.lists(text, min_size=1, max_size=3))
        )
        variables = tuple(
            Variable(name=each, default=draw(st.none() | text), required=draw(st.booleans()))
            for each in draw(st.lists(st.sampled_from("abc"), unique=True))
        )
        schema = draw(schemas)
        version = PromptVersion(
            id=number, prompt=prompt, number=number,
            tag=draw(st.none() | st.just(f"1.{number}.0")), messages=messages,
            variables=variables, response_schema=schema,
            sha256=prompts.content(messages, variables, schema),
            parent=draw(st.none() | st.integers(1, number - 1)) if number > 1 else None,
            author=draw(text.filter(bool)), comment=draw(text),
            created_at_us=draw(st.integers(0, 2**52)),
        )  # fmt: skip
        found.append(version)
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tree=trees(), serial=st.integers(0, 2**64))
def test_the_round_trip_is_exact(tmp_path: Path, tree: list[PromptVersion], serial: int) -> None:
    """Every field of every version comes back, byte for byte, as arguments that the verb takes."""
    root = tmp_path / f"{serial}-{len(list(tmp_path.iterdir()))}"
    written, there = prompt_trees.write(root, tree)
    assert (written, there) == ([each.name for each in tree], [])
    assert prompt_trees.write(root, tree) == ([], written)
    read = prompt_trees.read(root)
    arguments = verbs.parse("prompts.import", {"versions": [each.arguments for each in read]})
    again = [
        PromptVersion(
            id=each.number,
            sha256=prompts.content(each.messages, each.variables, each.response_schema),
            **{f: getattr(each, f) for f in each.__struct_fields__},
        )
        for each in arguments.versions
    ]
    assert again == tree
    assert [each.sha256 for each in read] == [each.sha256 for each in tree]


def one(**more: Any) -> PromptVersion:
    """A version."""
    messages = (Message(role="system", template="Be {{ tone }}."),)
    variables = (Variable(name="tone", default="kind"),)
    usual: dict[str, Any] = {
        "id": 1, "prompt": "terse", "number": 1, "messages": messages, "variables": variables,
        "sha256": prompts.content(messages, variables), "author": "sara", "comment": "first",
        "created_at_us": 1_700_000_000_123_456,
    }  # fmt: skip
    return PromptVersion(**usual | more)


def test_a_tree_is_readable_in_a_diff(tmp_path: Path) -> None:
    """Texts are files of their own, without a line that the prompt does not have."""
    prompt_trees.write(tmp_path, [one()])
    place = tmp_path / "terse" / "1"
    assert (place / "01-system.jinja").read_text() == "Be {{ tone }}."
    assert (place / "prompt.toml").read_text() == (
        'author = "sara"\ncomment = "first"\ncreated_at = 2023-11-14T22:13:20.123456Z\n'
        f'sha256 = "{one().sha256}"\n\n'
        '[[variables]]\nname = "tone"\ntype = "string"\ndefault = "kind"\nrequired = false\n'
    )


def test_a_version_written_by_hand_needs_its_messages_only(tmp_path: Path) -> None:
    """The rest has defaults; `.git` and drafts are left out."""
    place = tmp_path / "terse" / "1"
    place.mkdir(parents=True)
    (place / "prompt.toml").write_text("")
    (place / "01-system.jinja").write_text("Hi.")
    (tmp_path / ".git").mkdir()
    (tmp_path / "terse" / ".2.77.new").mkdir()
    (tmp_path / "README.md").write_text("Prompts.")
    (read,) = prompt_trees.read(tmp_path)
    assert read.name == "terse@1"
    assert read.arguments.keys() == {"prompt", "number", "messages", "variables", "comment"}


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("prompt.toml", "author = 3", "toml: Expected `str"),
        ("prompt.toml", "colour = 'red'", "unknown field `colour`"),
        ("prompt.toml", "author = ", "is not TOML"),
        ("prompt.toml", "created_at = 2020-01-01T00:00:00", "created_at has no time zone"),
        ("prompt.toml", b"\xff", "is not UTF-8 text"),
        ("02-user.jinja", b"\xff", "is not UTF-8 text"),
        ("03-user.jinja", "x", "not numbered 01, 02"),
        ("01-user.jinja", "x", "not numbered 01, 02"),
        ("notes.txt", "x", "notes.txt belongs to no version"),
        ("response_schema.json", "[1]", "is not a JSON object"),
        ("response_schema.json", "[" * 100_000, "is not a JSON object"),
        ("../x/01-system.jinja", "x", "x is not a version"),
    ],
)
def test_what_is_no_tree_is_refused_with_its_file(
    tmp_path: Path, file: str, content: str | bytes, said: str
) -> None:
    """Before anything is asked of the node."""
    prompt_trees.write(tmp_path, [one()])
    path = tmp_path / "terse" / "1" / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(errors.AppError, match=said):
        prompt_trees.read(tmp_path)


@given(sizes=st.lists(st.integers(0, 60), max_size=20), most=st.integers(40, 200))
def test_parts_keep_the_order_and_fit(sizes: list[int], most: int) -> None:
    """Only a version that is larger than a part by itself makes a larger one."""
    read = [
        prompt_trees.Read(prompt="terse", number=n, sha256="", arguments={"a": "x" * size})
        for n, size in enumerate(sizes, 1)
    ]
    parts = prompt_trees.parts(read, most)
    assert [each for part in parts for each in part] == read
    for part in parts:
        assert len(part) == 1 or len(msgspec.json.encode([each.arguments for each in part])) <= most


def test_an_exported_version_that_was_edited_is_refused(tmp_path: Path) -> None:
    """A version never changes; the message says where the new one goes."""
    prompt_trees.write(tmp_path, [one()])
    (tmp_path / "terse" / "1" / "01-system.jinja").write_text("Be rude.")
    with pytest.raises(errors.AppError, match="put the change into terse/2, without sha256"):
        prompt_trees.read(tmp_path)


def test_links_and_pipes_are_refused(tmp_path: Path) -> None:
    """A link might lead to any file of the reader's, a pipe has no end."""
    for make in (lambda path: path.symlink_to("/etc/passwd"), os.mkfifo):
        prompt_trees.write(tmp_path, [one()])
        path = tmp_path / "terse" / "1" / "02-user.jinja"
        make(path)
        with pytest.raises(errors.AppError, match="jinja is not a regular file"):
            prompt_trees.read(tmp_path)
        path.unlink()


def test_an_export_over_another_version_writes_nothing(tmp_path: Path) -> None:
    """Not even the versions that are not there."""
    prompt_trees.write(tmp_path, [one()])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = one(comment="another box's")
    with pytest.raises(errors.AppError, match="holds another terse@1"):
        prompt_trees.write(tmp_path, [other, msgspec.structs.replace(other, number=2)])
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_an_empty_directory_is_no_tree(tmp_path: Path) -> None:
    """And a prompt that is not in one is named."""
    with pytest.raises(errors.AppError, match="holds no prompts"):
        prompt_trees.read(tmp_path)
    prompt_trees.write(tmp_path, [one()])
    with pytest.raises(errors.AppError, match="holds no prompt kind"):
        prompt_trees.read(tmp_path, ["kind"])
    with pytest.raises(errors.AppError, match="cannot be read: No such file"):
        prompt_trees.read(tmp_path / "nowhere")
