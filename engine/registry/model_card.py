"""The files of a Hub repository around a model file: its card, its checksums, its attributes.

The card's header is the YAML that the Hub reads; below it are the facts and the lineage as the
registry has them. Pure. Imported by `engine.jobs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import yaml

from storage.model_checks import Task
from storage.models import Kind, ModelVersion

ATTRIBUTES: Final = "*.gguf filter=lfs diff=lfs merge=lfs -text\n"
_PIPELINES: Final[dict[Task, str]] = {
    "text": "text-generation",
    "embedding": "feature-extraction",
    "reranking": "text-ranking",
}
_COUNT_UNITS: Final = ((10**9, "B"), (10**6, "M"), (10**3, "k"))


def card(
    version: ModelVersion,
    file_names: Sequence[str],
    *,
    base: ModelVersion | None,
    ancestors: Sequence[ModelVersion],
) -> str:
    """The README.md of a repository; `ancestors` are what the version was made from, nearest first.

    Text from headers and people is quoted, so that it cannot end a table or begin markup.
    """
    head = {
        "license": (version.licence or "unknown").lower(),
        "library_name": "gguf",
        "pipeline_tag": _PIPELINES[version.checks.task or "text"],
        "tags": ["gguf", *(["lora"] if version.kind is Kind.ADAPTER else [])],
        "model_name": version.name,
    }
    facts = [
        ("Kind", version.kind.value),
        ("Architecture", version.architecture),
        ("Parameters", _count(version.parameters)),
        ("Quantisation", version.quantisation),
        ("Context", f"{version.context_tokens} tokens"),
        ("Licence", version.licence or "unknown"),
        *(("File" if len(file_names) == 1 else "Part", name) for name in file_names),
        ("Size", f"{version.size_bytes} bytes"),
        ("SHA-256", version.sha256),
        ("Chat template", _template(version)),
        ("Source", version.source or "local file"),
    ]
    lineage = [("Parent", ancestors[0].name if version.parent_id and ancestors else "none")]
    if base is not None:
        lineage.append(("Base", f"{base.name}, SHA-256 {base.sha256}"))
    lineage += [("Dataset", version.dataset or "none"), ("Training run", version.run or "none")]
    if len(ancestors) > 1:
        lineage.append(("All ancestors", ", ".join(each.name for each in ancestors)))
    return "\n".join(
        [
            "---",
            yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(),
            "---",
            "",
            f"# {version.name}",
            "",
            *_table(facts),
            "",
            "## Lineage",
            "",
            *_table(lineage),
            "",
            "Verify the files with `sha256sum -c SHA256SUMS`. Written by Paddock.",
            "",
        ]
    )


def checksums(version: ModelVersion, file_names: Sequence[str]) -> str:
    """As `sha256sum -c` reads it."""
    pairs = zip(version.files, file_names, strict=True)
    return "".join(f"{file.sha256}  {name}\n" for file, name in pairs)


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    return ["| | |", "| --- | --- |", *(f"| {name} | {_quoted(value)} |" for name, value in rows)]


def _quoted(text: str) -> str:
    """Text as code that no cell or line can be broken by."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', '/')}`"


def _template(version: ModelVersion) -> str:
    if version.template_sha256 is None:
        return "unknown"
    return f"SHA-256 {version.template_sha256}" if version.template_sha256 else "none"


def _count(number: int) -> str:
    for unit, letter in _COUNT_UNITS:
        if number >= unit:
            return f"{number / unit:.3g} {letter}"
    return str(number)
