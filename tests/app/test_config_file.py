"""The first config.toml of a home, and the one thing in it that is ever changed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from app import config_file, errors


@pytest.mark.parametrize(
    "text",
    [
        config_file.TEMPLATE,
        "",
        "[gateway]",
        "[gateway]\nport=8411\n",
        "[gateway]\n  port =8411 # ours\n",
        "[gateway] # the gateway\n#port=8411\nport = 8411",
        "[ gateway ]\nhost = '127.0.0.1'\n\n[price]\ncurrency = 'EUR'\n",
        "[other]\nport = 1\n\n[gateway]\nhost = '::1'\nport = 8411\n\n[later]\nport = 2\n",
        "[other]\n# port = 1\n",
        "[gateway]\n\n[later]\n# port = 2\n",
        '["gateway"]\n"port" = 8411\n',
        "gateway.port = 8411\n",
        "gateway = { port = 8411 }\n",
        "note = '''\n[gateway]\n'''\n",
    ],
)
def test_a_port_is_moved_in_its_own_section(tmp_path: Path, text: str) -> None:
    """However the file writes it; all else that it says stays, and so does who may read it."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    path.chmod(0o640)
    before = tomllib.loads(text)
    for port in (8500, 8501):
        config_file.set_port(path, port)
        wanted = {**before, "gateway": {**before.get("gateway", {}), "port": port}}
        assert tomllib.loads(path.read_text()) == wanted
    assert path.stat().st_mode & 0o777 == 0o640
    comments = [line for line in text.splitlines() if line.startswith("#") and "port" not in line]
    assert [line for line in comments if line not in path.read_text()] == []


@pytest.mark.parametrize("text", ["[gateway\n", "gateway = 7\n", "gateway = [1]\n"])
def test_a_file_that_cannot_be_edited_is_left_alone(tmp_path: Path, text: str) -> None:
    """With a sentence on what to write."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(errors.AppError, match=r"port = 8500"):
        config_file.set_port(path, 8500)
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]
