"""How a model version is told: its file, and the parts of a split model."""

from __future__ import annotations

import msgspec

from app import model_views
from storage.model_checks import Chat, Template
from storage.model_files import ModelFile
from storage.models import Kind, ModelVersion, Status

WHOLE = ModelVersion(
    id=1, model="x", version="1.0.0", kind=Kind.WEIGHTS, base_id=None, path="/a/x.gguf",
    sha256="0" * 64, size_bytes=3000, mtime_ns=1, architecture="llama", parameters=1,
    quantisation="F16", context_tokens=64, licence=None, status=Status.REGISTERED,
    status_reason=None, created_at_us=1, created_by="kim",
)  # fmt: skip


def test_a_split_model_is_told_part_by_part() -> None:
    """The first file with how many follow; then each with its size and hash."""
    parts = tuple(
        ModelFile(path=f"/a/x-0000{n}-of-00002.gguf", sha256=f"{n}" * 64, size_bytes=n, mtime_ns=1)
        for n in (1, 2)
    )
    split = msgspec.structs.replace(WHOLE, path=parts[0].path, parts=parts)
    assert model_views.file(WHOLE) == "/a/x.gguf"
    assert model_views.file(split) == "/a/x-00001-of-00002.gguf and 1 further part"
    assert [line.split() for line in model_views.part_lines(split)] == [
        ["x-00001-of-00002.gguf", "1", "B", "1" * 64],
        ["x-00002-of-00002.gguf", "2", "B", "2" * 64],
    ]
    assert WHOLE.files[0].path == "/a/x.gguf"
    assert split.files == parts


def test_how_a_model_calls_tools_is_told_as_far_as_it_was_tried() -> None:
    """A version of before the trial says nothing."""
    before = Chat(template=Template.OWN, works=True, takes_system=True)
    assert (model_views.tools(before), model_views.reasoning(before)) == ("–", "–")
    shown = msgspec.structs.replace(before, shows_tools=True, calls="hermes", reasons=True)
    assert model_views.tools(shown) == "shown by the template, called in the form of hermes"
    assert model_views.reasoning(shown) == "apart from the answer"
    told = msgspec.structs.replace(shown, shows_tools=False, reasons=False)
    assert model_views.tools(told) == "listed in the system text"
    assert model_views.reasoning(told) == "not marked by the template"
