"""config.toml: the settings of a box, with a default for each.

The environment overrides the file (PADDOCK_GATEWAY__PORT=8411). Never writes it. Imported by the
node, the gateway, control and `app`.
"""

from __future__ import annotations

import zoneinfo
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from storage.errors import ConfigError
from storage.home import access
from storage.home.paths import Home

Micro = Annotated[int, Field(ge=0, le=10**15)]
Days = Annotated[int, Field(ge=1, le=3650)]


class _Section(BaseModel):
    """A section: what is not known is an error, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Gateway(_Section):
    """The gateway; it listens on loopback unless configured otherwise."""

    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 8411
    body_limit_bytes: Annotated[int, Field(ge=1024, le=1_000_000_000)] = 2_000_000
    bodies_limit_bytes: Annotated[int, Field(ge=1024, le=100_000_000_000)] = 256_000_000
    """Bytes of all bodies that are being received or planned; a quarter of them for one key."""
    open_metrics: bool = False
    """Whether /metrics takes no key."""
    connections: Annotated[int, Field(ge=8, le=1_000_000)] | None = None
    """Connections in all; None: as many as the limit of open files allows."""
    connections_per_address: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Of one client's address; None: a quarter of all."""
    proxies: tuple[IPvAnyNetwork, ...] = (
        IPv4Network("127.0.0.0/8"),
        IPv6Network("::1/128"),
    )
    """Addresses, or networks, that have no limit of their own: many clients come through them."""
    allowed_origins: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")], ...] = ()
    """Origins of web pages that may ask (CORS); "*" for all."""


class People(_Section):
    """Unix users or @groups by role; the owner of the home is admin without being named.

    `group` is the Unix group whose members may look at all; None: the owner alone.
    """

    group: Annotated[str, Field(min_length=1, max_length=64)] | None = None

    admin: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()
    viewer: tuple[str, ...] = ()


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no such time zone; write one as Europe/Berlin or UTC") from None
    return name


class Price(_Section):
    """The currency, and what a GPU-hour costs in millionths of it before `paddock prices` says so.

    `time_zone` is that of the calendar days by which costs are counted.
    """

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"
    gpu_hour_micro: Micro | None = None
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"


class Retention(_Section):
    """How many days each is kept; samples of arms and tenants are rolled up before they go."""

    samples_days: Days = 7
    minutes_days: Days = 30
    hours_days: Days = 400
    costs_days: Days = 400
    requests_days: Days = 30
    texts_days: Days = 7
    jobs_days: Days = 30


class Config(BaseSettings):
    """All settings; frozen once read."""

    model_config = SettingsConfigDict(
        env_prefix="PADDOCK_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    gateway: Gateway = Gateway()
    people: People = People()
    price: Price = Price()
    retention: Retention = Retention()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then what is handed over; no other file is looked at."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load(home: Home) -> Config:
    """The settings of a home; without a file all have their defaults.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or a key does not fit; the key is named.
        Closed: this user may not look into the home.
    """
    access.require(home)
    if home.config.exists() and not home.config.is_file():
        raise ConfigError(f"{home.config} cannot be read: not a regular file; rename or remove it.")
    try:
        found: dict[str, Any] = TomlConfigSettingsSource(Config, home.config)()
        return Config(**found)
    except ValidationError as error:
        raise ConfigError(_reason(home, error)) from error
    except SettingsError as error:
        raise ConfigError(f"A PADDOCK_ variable of the environment: {error}.") from error
    except PermissionError as error:
        raise access.closed(home) from error
    except (ValueError, OSError) as error:  # not TOML, not UTF-8, not readable
        raise ConfigError(f"{home.config} cannot be read as TOML: {error}.") from error


def readable(home: Home) -> tuple[Config, str]:
    """The settings, or with a config.toml that cannot be used the defaults and what is wrong.

    For those who only look: a typo must not hide a box that is running.

    Raises:
        Closed: this user may not read the data directory.
    """
    try:
        return load(home), ""
    except ConfigError as error:
        return Config.model_construct(), str(error)


def price(home: Home) -> Price:
    """The price of computing, from the settings that can be read."""
    return readable(home)[0].price


def _reason(home: Home, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    hint = {"extra_forbidden": "there is no such key"}.get(first["type"], first["msg"])
    said = "" if first["type"] in {"extra_forbidden", "missing"} else f" (found {first['input']!r})"
    return (
        f"{home.config} (or PADDOCK_… in the environment): {key}: {hint}{said}. "
        "Correct it, or remove it for the default."
    )
