"""Model versions: their order, their aliases, and a family tree without cycles."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, ledger, model_aliases, model_lineage, models
from storage.models import Kind, Lineage
from storage.store import Store
from tests.storage import fixtures


@dataclass(frozen=True)
class Version:
    """A member of a family tree."""

    id: int
    parent_id: int | None = None
    base_id: int | None = None

    @property
    def name(self) -> str:
        """Its number."""
        return str(self.id)


async def test_an_alias_moves_and_the_ledger_says_from_where(store: Store) -> None:
    """`ops@champion` finds the version that it points at now."""

    async def work(s: AsyncSession) -> None:
        first, second = await fixtures.model(s), await fixtures.model(s, "1.10.0")
        for number, version in enumerate((first, second, second)):
            await model_aliases.point(s, "ops", "champion", version.id, actor="lee", at_us=number)
        assert (await models.find(s, "ops@champion")).id == second.id
        entries = await ledger.of(s, "model", "ops@champion")
        assert [(each.before, each.after) for each in entries] == [
            (first.id, second.id),
            (None, first.id),
        ]

    await store.write(work)


async def test_latest_is_the_highest_version_and_not_the_newest(store: Store) -> None:
    """1.9.1 is registered after 1.10.0 and is below it, in lists as well."""

    async def work(s: AsyncSession) -> None:
        for version in ("1.2.0", "1.10.0", "1.9.1"):
            await fixtures.model(s, version)
        known = await models.every(s)
        assert [each.version for each in known] == ["1.2.0", "1.9.1", "1.10.0"]
        for name in ("ops", "ops@latest"):
            assert (await models.find(s, name)).version == "1.10.0"
        assert models.aliases(known, []) == {known[-1].id: ("latest",)}

    await store.write(work)


@pytest.mark.parametrize("alias", ["latest", "v1", "1", "1.0.0", "v2.1", "2024-11-01", "A", ""])
def test_a_name_that_could_be_a_version_is_no_alias(alias: str) -> None:
    """`ops@v1` would read as a version."""
    with pytest.raises(errors.Invalid):
        model_aliases.check(alias)


async def test_versions_are_read_with_their_bases_and_no_others(
    store: Store,
) -> None:
    """What a switch asks about costs what it names, however many versions there are."""

    async def work(s: AsyncSession) -> None:
        base = await fixtures.model(s)
        adapter = await fixtures.model(s, "1.1.0", kind=Kind.ADAPTER, base_id=base.id)
        await fixtures.model(s, "1.2.0", kind=Kind.ADAPTER, base_id=base.id)
        other = await fixtures.model(s, "2.0.0")
        assert await models.with_bases(s, [adapter.id]) == {base.id: base, adapter.id: adapter}
        assert await models.with_bases(s, [other.id]) == {other.id: other}
        assert await models.with_bases(s, []) == {}

    await store.write(work)


async def test_an_unknown_alias_is_refused_with_what_there_is(store: Store) -> None:
    """For finding and for removing."""

    async def work(s: AsyncSession) -> None:
        version = await fixtures.model(s)
        await model_aliases.point(s, "ops", "champion", version.id, actor="lee", at_us=1)
        with pytest.raises(errors.NotFound, match="ops@champion"):
            await model_aliases.remove(s, "ops", "canary", actor="lee", at_us=2)
        with pytest.raises(errors.NotFound, match=r"ops@1\.0\.0"):
            await models.find(s, "ops@canary")
        await model_aliases.remove(s, "ops", "champion", actor="lee", at_us=2)
        with pytest.raises(errors.NotFound):
            await models.find(s, "ops@champion")

    await store.write(work)


async def test_a_version_is_never_its_own_ancestor(store: Store) -> None:
    """Not through its parents, and not through the base of an adapter."""

    async def work(s: AsyncSession) -> None:
        weights = await fixtures.model(s)
        adapter = await fixtures.model(s, "1.1.0", kind=Kind.ADAPTER, base_id=weights.id)
        merged = await fixtures.model(s, "2.0.0")

        async def derive(id: int, parent_id: int) -> None:
            lineage = Lineage(parent_id=parent_id, dataset="tickets@3", run="7")
            await models.trace(s, id, lineage, actor="lee", at_us=5)

        await derive(merged.id, adapter.id)
        for parent in (merged, weights):
            with pytest.raises(errors.Invalid, match="its own ancestor"):
                await derive(weights.id, parent.id)
        assert (await models.get(s, merged.id)).lineage == Lineage(
            parent_id=adapter.id, dataset="tickets@3", run="7"
        )
        entry = (await ledger.of(s, "model", "ops@2.0.0"))[0]
        assert (entry.verb, entry.after["dataset"]) == ("models.trace", "tickets@3")

    await store.write(work)


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=40), st.data())
def test_edges_that_are_accepted_make_a_tree(
    edges: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Every version is drawn once, below what it was made from."""
    members = {
        id: Version(id, base_id=data.draw(st.sampled_from([None, *range(1, id)])))
        for id in range(1, 9)
    }
    for child, parent in edges:
        try:
            model_lineage.prove(members, child, parent)
        except errors.Invalid:
            assert child == parent or child in model_lineage.ancestors(members, parent)
        else:
            members[child] = Version(child, parent, members[child].base_id)
    drawn = model_lineage.tree(members.values())
    assert sorted(node.id for node in drawn) == sorted(members)
    assert not any(id in model_lineage.ancestors(members, id) for id in members)
    at = {node.id: number for number, node in enumerate(drawn)}
    for member in members.values():
        if member.parent_id is not None:
            assert at[member.parent_id] < at[member.id]


async def test_a_thousand_versions_are_one_query(store: Store) -> None:
    """The list reads each row once, however many aliases there are."""

    async def fill(s: AsyncSession) -> None:
        for number in range(30):
            await fixtures.model(s, f"1.{number}.0")

    await store.write(fill)
    asked: list[str] = []
    async with store.read() as s:
        connection = await s.connection()

        def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
            asked.append(statement)

        event.listen(connection.sync_connection, "before_cursor_execute", note)
        versions = await models.every(s)
        named = models.aliases(versions, await model_aliases.every(s))
    assert (len(versions), len(named), len(asked)) == (30, 1, 2)
