"""Addresses of model files: what each means, and what is refused before anything is opened."""

from __future__ import annotations

import pytest

from engine.registry import sources
from engine.registry.sources import BadSource, Hub, Local, Remote


def test_a_path_is_a_file_of_this_machine() -> None:
    """It is registered in place."""
    assert sources.parse("/srv/models/x.gguf") == Local("/srv/models/x.gguf")


def test_an_address_of_the_hub_names_repository_file_and_revision() -> None:
    """The revision is main where it is not said; folders belong to the file."""
    source = sources.parse("hf://acme/tiny-GGUF/q4/tiny.gguf@v1.2", {"HF_TOKEN": "t"})
    assert source == Hub(sources.HUB, "acme/tiny-GGUF", "q4/tiny.gguf", "v1.2", "t")
    assert source.at("refs/pr/1").url == (
        f"{sources.HUB}/acme/tiny-GGUF/resolve/refs%2Fpr%2F1/q4/tiny.gguf"
    )
    plain = sources.parse("hf://acme/tiny/tiny.gguf", {"HF_ENDPOINT": "https://mirror.example/"})
    assert plain == Hub("https://mirror.example", "acme/tiny", "tiny.gguf", "main", None)


def test_a_url_is_stored_without_what_may_be_a_signature() -> None:
    """The query is sent and not kept."""
    source = sources.parse("https://example.com/a%20b/m.gguf?Signature=secret")
    assert isinstance(source, Remote)
    assert (source.shown, source.file_name) == ("https://example.com/a%20b/m.gguf", "m.gguf")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("x.gguf", "not an absolute path"),
        ("http://example.com/m.gguf", "not encrypted"),
        ("https:///m.gguf", "names no host"),
        ("https://me:pw@example.com/m.gguf", "A password in a URL"),
        ("https://[::1/m.gguf", "not a URL"),
        ("s3://key:pw@bucket/m.gguf", "A password in a URL"),
        ("simplecache::s3://bucket/m.gguf", "is not an address of a file"),
        ("file://host/m.gguf", "not an absolute path"),
        ("mlflow:models:/ops", "mlflow:models:/name/3"),
        ("mlflow:models:/ops/3", "MLFLOW_TRACKING_URI"),
        ("hf://acme/tiny", "hf://owner/repository/file.gguf@revision"),
        ("hf://acme/../x.gguf", "does not name a file"),
        ("hf://acme/tiny/../x.gguf", "does not name a file"),
        ("hf://acme/tiny/x.gguf@a b", "does not name a file"),
    ],
)
def test_what_cannot_be_an_address_is_refused_with_one_that_can(address: str, said: str) -> None:
    """Before anything is opened."""
    with pytest.raises(BadSource, match=said):
        sources.parse(address, {})


def test_a_files_name_has_no_folders_and_is_never_hidden() -> None:
    """Whatever a URL ends with."""
    assert sources.file_name("../../.bashrc") == "_.._.bashrc"
    assert sources.file_name("") == "model.gguf"
    assert sources.file_name("..") == "model.gguf"
    assert len(sources.file_name("x" * 400)) == 120
