"""What a worker says of the file that it has loaded."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from engine.serving import errors, loaded_file
from storage.runtime import file_identity
from tests import home_fixtures


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file."""
    made = tmp_path / "a.gguf"
    made.write_bytes(b"weights")
    return made


def test_the_verified_file_is_not_read_again(path: Path) -> None:
    """Its hash is taken from who verified it: a wrong one passes, as nothing was read."""
    now = loaded_file.look([path])
    assert loaded_file.prove([path], "0" * 64, before=now, verified=now) == ("0" * 64, "bound")


def test_another_file_is_hashed(path: Path, tmp_path: Path) -> None:
    """A copy has another inode; without a verified file there is nothing to rely on."""
    verified = loaded_file.look([path])
    copy = tmp_path / "b.gguf"
    copy.write_bytes(path.read_bytes())
    digest = home_fixtures.digest(path)
    for each in (verified, ()):
        proved = loaded_file.prove([copy], digest, before=loaded_file.look([copy]), verified=each)
        assert proved == (digest, "hashed")


def test_the_parts_of_a_split_model_have_one_hash_as_the_shell_tells_it(path: Path) -> None:
    """That of their hashes, one a line; a changed part is named."""
    other = path.with_name("b.gguf")
    other.write_bytes(b"more")
    both = [path, other]
    listed = subprocess.run(["sha256sum", *both], capture_output=True, check=True).stdout
    listed = b"".join(line[:64] + b"\n" for line in listed.splitlines())
    proved = loaded_file.prove(both, "", before=loaded_file.look(both), verified=())
    assert proved == (hashlib.sha256(listed).hexdigest(), "hashed")
    before = loaded_file.look(both)
    other.write_bytes(b"else")
    with pytest.raises(errors.FileUnavailable, match=r"b\.gguf changed while it was loaded"):
        loaded_file.prove(both, "", before=before, verified=before)


def test_a_file_with_another_content_is_refused(path: Path) -> None:
    """The message has the hash that was found."""
    with pytest.raises(errors.ModelBroken, match=home_fixtures.digest(path)):
        loaded_file.prove([path], "0" * 64, before=loaded_file.look([path]), verified=())


def test_a_file_that_changes_during_the_load_is_not_what_was_loaded(path: Path) -> None:
    """Trying again may help."""
    before = loaded_file.look([path])
    path.write_bytes(b"others")
    with pytest.raises(errors.FileUnavailable, match="changed while it was loaded"):
        loaded_file.prove([path], "", before=before, verified=before)


def test_what_was_verified_passes_through_the_environment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage to it means that nothing was verified."""
    verified = (file_identity.of(path), file_identity.of(path.parent))
    for name, value in file_identity.environment(verified).items():
        monkeypatch.setenv(name, value)
    assert file_identity.from_environment() == verified
    monkeypatch.setenv(file_identity.VARIABLE, "1:2")
    assert file_identity.from_environment() == ()
