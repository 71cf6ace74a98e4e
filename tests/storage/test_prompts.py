"""Prompts: versions that never change, how they are found, and what is in a list."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, prompt_uses, prompts, releases, services
from storage.prompts import Message, PromptVersion, Variable
from storage.store import Store
from tests.storage import fixtures

SAID = [Message(role="system", template="x")]


async def add(s: AsyncSession, template: str = "x", **more: Any) -> PromptVersion:
    """The next version of `terse` with one message."""
    usual: dict[str, Any] = {"variables": [], "author": "sara", "comment": "", "at_us": 1}
    return await prompts.add(
        s, prompt="terse", messages=[Message(role="system", template=template)], **(usual | more)
    )


async def test_versions_are_numbered_by_content(store: Store) -> None:
    """The latest again is the latest; older content again is a new version."""

    async def work(s: AsyncSession) -> list[tuple[str, str, int | None]]:
        said = ["Be brief.", "Be brief.", "Be kind.", "Be brief."]
        added = [await fixtures.prompt(s, text) for text in said]
        return [(each.name, each.sha256[:8], each.parent) for each in added]

    found = await store.write(work)
    assert [name for name, _, _ in found] == ["terse@1", "terse@1", "terse@2", "terse@3"]
    assert [parent for _, _, parent in found] == [None, None, 1, 2]
    assert found[0][1] == found[3][1] != found[2][1]


messages = st.lists(
    st.builds(
        Message,
        role=st.sampled_from(["system", "user", "assistant"]),
        template=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    ),
    min_size=1,
    max_size=3,
)
variables = st.lists(st.builds(Variable, name=st.sampled_from(["a", "b"])), max_size=2)
schemas = st.none() | st.dictionaries(st.sampled_from(["type", "x"]), st.integers(0, 2))
contents = st.tuples(messages, variables, schemas)


@given(one=contents, two=contents)
def test_content_is_addressed_by_what_it_says(one: Any, two: Any) -> None:
    """Equal content has an equal hash, different content a different one."""
    assert (prompts.content(*one) == prompts.content(*two)) == (one == two)


def test_a_version_without_a_schema_keeps_the_hash_from_before_schemas() -> None:
    """Releases name it; the hash of 0.1.0 for this content is written here."""
    assert prompts.content(SAID, []).startswith("ce3b3207b74cfba1")


async def test_a_bare_name_means_production_and_nothing_else(store: Store) -> None:
    """Without that label it is an error that says how to set it, never another version."""

    async def work(s: AsyncSession) -> list[str]:
        for template in ("one", "two", "three"):
            await add(s, template)
        with pytest.raises(errors.NotFound, match=r"no label production.*terse@3 production"):
            await prompts.find(s, "terse")
        await prompts.label(s, "terse", "production", 1, "sara", 5, None)
        asked = ("terse", "terse:production", "terse@2", "terse:latest")
        return [(await prompts.find(s, name)).name for name in asked]

    assert await store.write(work) == ["terse@1", "terse@1", "terse@2", "terse@3"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("terse@9", "no prompt terse@9: terse has version 1 only"),
        ("terse@0", "terse has version 1 only"),
        ("terse@x", "no version of terse has this tag; its versions are 1 to 1"),
        ("terse@" + "9" * 40, "no version of terse has this tag"),
        ("terse@", "no version of terse has this tag"),
        ("terse:beta", "terse has no label beta; it has latest"),
        ("terse:", "terse has no label"),
        ("other", "no prompt other; known: terse"),
        ("other@1", "no prompt other; known: terse"),
        ("other:latest", "no prompt other; known: terse"),
        ("other:beta", "no prompt other; known: terse"),
    ],
)
async def test_what_is_not_found_says_what_there_is(store: Store, name: str, said: str) -> None:
    """The next try is right."""
    await store.write(fixtures.prompt)
    async with store.read() as s:
        with pytest.raises(errors.NotFound, match=re.escape(said)):
            await prompts.find(s, name)


async def test_a_tag_is_unique_and_finds_its_version(store: Store) -> None:
    """Among the versions of a prompt; a version never gets another one."""

    async def work(s: AsyncSession) -> str:
        await add(s, "one", tag="1.0.0")
        await add(s, "two", tag="1.10.0")
        with pytest.raises(errors.AlreadyExists, match=r"terse@1 is tagged 1\.0\.0 already"):
            await add(s, "three", tag="1.0.0")
        with pytest.raises(errors.Invalid, match=r"tagged 1\.10\.0; a version never changes"):
            await add(s, "two", tag="2.0.0")
        with pytest.raises(errors.Invalid, match="not a semantic version"):
            await add(s, "three", tag="v2")
        assert (await add(s, "two", tag="1.10.0")).number == 2
        await fixtures.prompt(s, "one", name="other")
        return (await prompts.find(s, "terse@1.0.0")).name

    assert await store.write(work) == "terse@1"


async def test_the_parent_of_a_version_is_an_earlier_one(store: Store) -> None:
    """There are no cycles, because a version cannot name a later one or itself."""

    async def work(s: AsyncSession) -> int | None:
        await add(s, "one")
        await add(s, "two")
        with pytest.raises(errors.NotFound, match=r"no prompt terse@3: terse has versions 1 to 2"):
            await add(s, "three", parent=3)
        put: dict[str, Any] = {
            "prompt": "terse", "number": 3, "messages": SAID, "variables": [], "tag": None,
            "response_schema": None, "author": "sara", "comment": "", "created_at_us": 1,
            "actor": "sara", "at_us": 1,
        }  # fmt: skip
        for parent in (3, 4, 0):
            with pytest.raises(errors.Invalid, match="the parent of a version is an earlier one"):
                await prompts.put(s, parent=parent, **put)
        with pytest.raises(errors.Invalid, match="The next version of terse is 3, not 5"):
            await prompts.put(s, parent=1, **put | {"number": 5})
        return (await add(s, "three", parent=1)).parent

    assert await store.write(work) == 1


@pytest.mark.parametrize(
    ("messages", "variables", "said"),
    [
        ([], [], "at least one message"),
        (SAID, [Variable(name="a"), Variable(name="a")], "same name"),
        (SAID, [Variable(name="a-b")], "cannot be a variable"),
        (SAID, [Variable(name="n", type="integer", default="1.5")], "variable n: '1.5' is not an"),
        (SAID, [Variable(name="n", type="number", default="nan")], "'nan' is not a number"),
        (SAID, [Variable(name="n", type="boolean", default="maybe")], "not true or false"),
    ],
)
async def test_what_a_prompt_may_not_be(
    store: Store, messages: list[Message], variables: list[Variable], said: str
) -> None:
    """Refused with what is allowed, and nothing is written."""
    with pytest.raises(errors.Invalid, match=said):
        await store.write(
            lambda s: prompts.add(
                s, prompt="terse", messages=messages, variables=variables, author="sara",
                comment="", at_us=1,
            )
        )  # fmt: skip
    async with store.read() as s:
        assert await prompts.named(s) == []


async def test_a_list_is_filtered_by_all_that_it_shows(store: Store) -> None:
    """Name with number, tag, author, comment and labels; what would be a pattern is plain text."""

    async def work(s: AsyncSession) -> dict[str, list[int]]:
        await add(s, "one", tag="1.0.0", comment="50 % shorter")
        await add(s, "two", author="lee")
        await add(s, "three")
        await prompts.label(s, "terse", "beta", 3, "sara", 1)
        asked = ("terse@2", "1.0", "lee", "50 %", "beta", "ers", "%", "_", "Lee")
        return {text: [each.number for each in await prompts.page(s, text=text)] for text in asked}

    assert await store.write(work) == {
        "terse@2": [2], "1.0": [1], "lee": [2], "50 %": [1], "beta": [3], "ers": [3, 2, 1],
        "%": [1], "_": [], "Lee": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "strin"}, r"not a JSON Schema at \$\.type: Invalid enum value 'strin'"),
        ({"properties": {"a": {"items": 3}}}, r"at \$\.properties\[\.\.\.\]\.items"),
        ({"required": "a"}, r"at \$\.required: Expected `array`"),
        ({"anyOf": []}, "length >= 1"),
        ({"x": "y" * 70_000}, "65536 bytes"),
    ],
)
async def test_a_response_schema_is_a_json_schema(
    store: Store, schema: dict[str, Any], said: str
) -> None:
    """The refusal says where it is none; unknown keywords are allowed, as in the specification."""
    known = {"type": ["object", "null"], "required": ["a"], "x-order": 1,
             "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": True}}  # fmt: skip
    version = await store.write(lambda s: add(s, response_schema=known))
    assert version.response_schema == known
    with pytest.raises(errors.Invalid, match=said):
        await store.write(lambda s: add(s, "y", response_schema=schema))


async def test_pages_of_the_list_are_the_list(store: Store) -> None:
    """By name, newest first within each; every page begins where the last one ended."""

    async def work(s: AsyncSession) -> list[str]:
        for name in ("b", "a", "c"):
            for template in ("one", "two", "three"):
                await fixtures.prompt(s, template, name=name)
        whole = [each.name for each in await prompts.page(s)]
        for size in range(1, 10):
            paged: list[str] = []
            after = None
            while found := await prompts.page(s, after=after, limit=size):
                paged += [each.name for each in found]
                after = found[-1].prompt, found[-1].number
            assert paged == whole
        assert [each.number for each in await prompts.page(s, prompt="b")] == [3, 2, 1]
        return whole

    assert await store.write(work) == [f"{name}@{n}" for name in "abc" for n in (3, 2, 1)]


@pytest.mark.parametrize("asked", [{}, {"after": ("terse", 3)}, {"prompt": "terse"}])
async def test_a_page_is_read_along_an_index(store: Store, asked: dict[str, Any]) -> None:
    """Without sorting and without reading the versions before it, however many there are."""
    async with store.read() as s:
        ran: list[tuple[str, Any]] = []
        connection = (await s.connection()).sync_connection
        assert connection is not None

        def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            ran.append((statement, parameters))

        event.listen(connection, "before_cursor_execute", note)
        await prompts.page(s, **asked)
        event.remove(connection, "before_cursor_execute", note)
        (statement, parameters), *_ = ran
        plan = await (await s.connection()).exec_driver_sql(
            f"EXPLAIN QUERY PLAN {statement}", parameters
        )
        steps = [row.detail for row in plan]
    assert len(steps) == 1
    assert "USING INDEX prompts_newest" in steps[0]
    assert ("SEARCH" in steps[0]) == bool(asked)


async def test_uses_are_the_releases_and_the_services_that_they_serve(store: Store) -> None:
    """Newest first; a release in no service is a use as well."""

    async def work(s: AsyncSession) -> list[prompt_uses.Use]:
        weights = await fixtures.model(s)
        for template in ("one", "two"):
            version = await add(s, template)
            await fixtures.release(s, weights, prompt_version=version)
        await fixtures.release(s, weights)
        await services.create(
            s, name="support", release=1, record_text=False, actor="sara", at_us=3
        )
        assert await prompt_uses.of(s, "terse", 2) == (await prompt_uses.of(s, "terse"))[:1]
        assert await prompt_uses.of(s, "other") == []
        return await prompt_uses.of(s, "terse")

    assert await store.write(work) == [
        prompt_uses.Use(release=2, number=2, follows=None, serves={}),
        prompt_uses.Use(release=1, number=1, follows=None, serves={"support": 10_000}),
    ]


async def test_a_release_that_follows_a_label_is_another_release(store: Store) -> None:
    """What it follows belongs to it; one that follows nothing keeps its hash."""

    async def work(s: AsyncSession) -> list[tuple[int, str | None]]:
        weights, version = await fixtures.model(s), await add(s)
        made = []
        for follows in (None, "terse:production", "terse:production", None):
            release = await releases.create(
                s, model_version=weights, prompt_version=version, follows=follows,
                sampling=releases.Sampling(), limits=releases.Limits(),
                engine=releases.Engine(), comment="", actor="sara", at_us=3,
            )  # fmt: skip
            made.append((release.number, release.follows))
        followers = await releases.every(s, follows="terse:production")
        assert [each.number for each in followers] == [2]
        return made

    assert await store.write(work) == [
        (1, None), (2, "terse:production"), (2, "terse:production"), (1, None),
    ]  # fmt: skip


async def test_the_store_itself_refuses_a_tag_twice(store: Store) -> None:
    """Two writers that looked at the same moment cannot both have it."""

    async def work(s: AsyncSession) -> None:
        await add(s, "one", tag="1.0.0")
        await add(s, "two")
        await s.execute(text("UPDATE prompts SET tag = '1.0.0' WHERE number = 2"))

    with pytest.raises(errors.Invalid, match="UNIQUE constraint failed"):
        await store.write(work)
