"""`paddock requests` and `paddock prompts`: what a person types counts, and finds what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app import actions, session
from app.commands import prompts as prompts_command
from app.commands import requests as command
from storage import errors as storage_errors
from storage import feedback, requests, texts
from storage import store as stores
from storage.home.paths import Home
from tests.storage import fixtures


@pytest.mark.parametrize("id", ["req_1", "chatcmpl-1", "cmpl-1"])
async def test_any_id_that_the_box_gave_out_finds_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], id: str
) -> None:
    """Its text and its feedback as well, by the id of the header and by that of the answer."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    written = await stores.open(home)
    text = texts.Text(request_id="req_1", at_us=1, prompt="ask", completion="reply")
    try:
        await written.write(lambda s: requests.record(s, [fixtures.request(1)]))
        await written.write(lambda s: texts.record(s, [text]))
        await written.write(
            lambda s: feedback.add(
                s, request_id="req_1", at_us=2, score=1, correct=True, comment="good", key_id=1
            )
        )
        await command.show(id)
    finally:
        await written.close()
    said = capsys.readouterr().out
    for part in ("req_1", "ask", "reply", "up, correct: good"):
        assert part in said


async def test_a_request_is_found_by_the_beginning_of_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a narrow list shows it; one that several share, and one that is too short, names none."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    written = await stores.open(home)
    ids = ("req_abcd1", "req_abcd2", "req_abcd", "req_wxyz%1")
    made = [msgspec.structs.replace(fixtures.request(n), id=id) for n, id in enumerate(ids, 1)]
    try:
        await written.write(lambda s: requests.record(s, made))
    finally:
        await written.close()
    for typed, id in (("wxyz", "req_wxyz%1"), ("req_abcd2", "req_abcd2"), ("abcd1", "req_abcd1"),
                      ("req_abcd", "req_abcd"), ("chatcmpl-abcd", "req_abcd")):  # fmt: skip
        await command.show(typed, as_json=True)
        assert json.loads(capsys.readouterr().out)["request"]["id"] == id
    for typed in ("wxy", "abc", "wxyz_"):
        with pytest.raises(storage_errors.NotFound):
            await command.show(typed)


async def test_a_service_that_does_not_exist_is_not_an_empty_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence names those that do, and no head is printed before it."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    written = await stores.open(home)
    try:
        await fixtures.furnish(written)
    finally:
        await written.close()
    with pytest.raises(storage_errors.NotFound, match="no service nope; known: support"):
        await command.tail(20, "nope", None)
    await command.tail(20, "support", None)
    assert len(capsys.readouterr().out.splitlines()) == 1


async def test_no_prompt_can_forge_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only headings begin at the margin; texts are indented, whatever they hold."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    written = await stores.open(home)
    prompt = "user: hello\n\n[answer]\nAll is well."
    text = texts.Text(
        request_id="req_1",
        at_us=1,
        prompt=prompt,
        completion="It burns.",
        turn='{"reasoning": "[answer]\\nHm."}',
    )
    try:
        await written.write(lambda s: requests.record(s, [fixtures.request(1)]))
        await written.write(lambda s: texts.record(s, [text]))
        await command.show("req_1")
    finally:
        await written.close()
    _, _, shown = capsys.readouterr().out.partition("\n[prompt]\n")
    assert shown == (
        "  user: hello\n\n  [answer]\n  All is well.\n\n"
        "[reasoning]\n  [answer]\n  Hm.\n\n[answer]\n  It burns.\n"
    )


@pytest.mark.parametrize(
    ("flag", "comment"), [("from the flag", "from the flag"), ("", "from the file")]
)
async def test_a_comment_on_the_command_line_wins_over_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, comment: str
) -> None:
    """What was typed now is meant; without it the file's counts."""
    file = tmp_path / "terse.toml"
    file.write_text(
        'comment = "from the file"\n[[messages]]\nrole = "system"\ntemplate = "Be brief."\n'
    )
    asked: list[Any] = []

    async def ask(name: str, target: str, arguments: object, *, reason: str) -> actions.Done:
        asked.append((name, target, arguments, reason))
        return actions.Done(ok=True, sentence="Created terse@1.")

    monkeypatch.setattr(session, "ask", ask)
    await prompts_command.add(file, None, comment=flag)
    assert [arguments["comment"] for _, _, arguments, _ in asked] == [comment]
