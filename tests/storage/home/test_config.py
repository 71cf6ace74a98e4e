"""config.toml: all defaults without it, the environment above it, and errors that name the key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from storage import errors
from storage.home import config
from storage.home.paths import Home


def test_without_a_file_everything_has_its_default(home: Home) -> None:
    """Loopback, no prices, only the owner."""
    found = config.load(home)
    assert (found.gateway.host, found.gateway.port) == ("127.0.0.1", 8411)
    assert found.gateway.body_limit_bytes == 2_000_000
    assert (found.price.currency, found.price.gpu_hour_micro) == ("USD", None)
    assert (found.people.admin, found.people.operator, found.people.viewer) == ((), (), ())
    assert found.people.group is None
    days = found.retention
    assert (days.samples_days, days.requests_days, days.texts_days) == (7, 30, 7)
    assert days.jobs_days == 30


def test_the_file_counts_and_the_environment_counts_more(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key by key; what is set nowhere stays at its default."""
    home.config.write_text(
        '[gateway]\nhost = "::1"\nport = 9000\n'
        '[people]\noperator = ["sara", "@oncall"]\n'
        "[price]\ngpu_hour_micro = 2_500_000\n"
    )
    monkeypatch.setenv("PADDOCK_GATEWAY__PORT", "9001")
    monkeypatch.setenv("PADDOCK_HEADLESS", "1")
    found = config.load(home)
    assert (found.gateway.host, found.gateway.port) == ("::1", 9001)
    assert found.people.operator == ("sara", "@oncall")
    assert found.price.gpu_hour_micro == 2_500_000


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('[gateway]\nport = "many"', "gateway.port"),
        ("[gateway]\nport = 0", "gateway.port"),
        ("[gateway]\nprot = 1", "gateway.prot: there is no such key"),
        ("[gatway]\nport = 1", "gatway: there is no such key"),
        ('[people]\nadmin = "sara"', "people.admin"),
        ('[people]\ngroup = ""', "people.group"),
        ('[people]\ngroup = ["oncall"]', "people.group"),
        ("[price]\ngpu_hour_micro = 2.5", "price.gpu_hour_micro"),
        ('[price]\ncurrency = "dollars"', "price.currency"),
        ("[retention]\nsamples_days = 0", "retention.samples_days"),
        ("gateway = 1", "gateway"),
        ("[gateway\n", "TOML"),
        ("\xff", "TOML"),
    ],
)
def test_a_bad_file_is_reported_by_its_key(home: Home, written: str, said: str) -> None:
    """And by its path, so that one can go and correct it."""
    home.config.write_bytes(written.encode("latin-1"))
    with pytest.raises(errors.ConfigError, match=re.escape(said)) as caught:
        config.load(home)
    assert str(home.config) in str(caught.value)


def test_a_bad_variable_is_reported(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it cannot be read or does not fit."""
    monkeypatch.setenv("PADDOCK_GATEWAY__PORT", "none")
    with pytest.raises(errors.ConfigError, match=re.escape("gateway.port")):
        config.load(home)
    monkeypatch.delenv("PADDOCK_GATEWAY__PORT")
    monkeypatch.setenv("PADDOCK_PEOPLE", "{")
    with pytest.raises(errors.ConfigError, match="environment"):
        config.load(home)


def test_a_directory_in_its_place_is_reported(home: Home) -> None:
    """Not a traceback."""
    home.config.mkdir()
    with pytest.raises(errors.ConfigError, match="cannot be read"):
        config.load(home)


def test_settings_do_not_change_once_read(home: Home) -> None:
    """A node runs on what it started with."""
    with pytest.raises(ValidationError):
        setattr(config.load(home).gateway, "port", 1)  # noqa: B010 mypy knows it, too


def test_each_setting_has_a_reader() -> None:
    """A knob that turns nothing would be a promise that is not kept."""
    root = Path(config.__file__).parents[2]
    source = "".join(
        path.read_text()
        for floor in ("app", "engine", "runbooks", "storage")
        for path in (root / floor).rglob("*.py")
    )
    sections = {name: getattr(config.Config(), name) for name in config.Config.model_fields}
    unread = [
        f"{section}.{name}"
        for section, values in sections.items()
        for name in type(values).model_fields
        if f".{name}" not in source
    ]
    assert unread == []
