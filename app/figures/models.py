"""Model versions as the place shows them: as a family tree, with what is loaded."""

from __future__ import annotations

from app import model_registry, model_views, snapshot, words
from app.model_registry import Registry
from storage import model_lineage, models
from storage.store import Session


async def rows(s: Session, at_us: int | None = None) -> tuple[snapshot.ModelRow, ...]:
    """All versions that are not removed, and those that others were made from."""
    registry = await model_registry.read(s, at_us)
    found = []
    for node in model_lineage.tree(registry.versions):
        stems = ["  " if last else "│ " for last in node.last[1:-1]]
        branch = "" if not node.depth else ("└ " if node.last[-1] else "├ ")
        found.append(_row(registry, node, "".join(stems) + branch))
    return tuple(found)


def _row(registry: Registry, node: model_lineage.Node, stem: str) -> snapshot.ModelRow:
    version = registry.by_id(node.id)
    assert version is not None  # noqa: S101 the tree is made from the registry
    base, parent = registry.by_id(version.base_id), registry.by_id(version.parent_id)
    proofs = registry.proofs(version)
    reported = [
        proof
        for proof in proofs
        if proof.weights and (version.base_id is None or version.sha256 in proof.adapters)
    ]
    return snapshot.ModelRow(
        id=version.id,
        name=version.name,
        stem=stem,
        aliases=tuple(registry.aliases.get(version.id, ())),
        kind=version.kind.value,
        base="" if base is None else base.name,
        quantisation=version.quantisation,
        size_bytes=version.size_bytes,
        status=version.status.value,
        reason=version.status_reason or "",
        well=version.status is models.Status.REGISTERED,
        path=model_views.file(version),
        source=version.source or "local file",
        sha256=version.sha256,
        memory=model_views.memory(version),
        made_from=_made_from(
            "" if parent is None else parent.name, version.dataset or "", version.run or ""
        ),
        loaded=tuple(proof.instance for proof in reported),
        waiting=tuple(proof.instance for proof in proofs if proof not in reported),
        differences=tuple(
            f"{proof.instance}: {each}" for proof in reported for each in proof.differences
        ),
        known="; ".join(dict.fromkeys(proof.known for proof in reported)),
        build=reported[0].build.partition("; CPU")[0] if reported else "",
        services=tuple(registry.serving(version)),
    )


def _made_from(parent: str, dataset: str, run: str) -> str:
    told = [
        f"{what} {value}"
        for what, value in (("from", parent), ("data", dataset), ("run", run))
        if value
    ]
    return ", ".join(told) or words.UNKNOWN
