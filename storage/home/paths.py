"""The data directory of one box: where it is, what is in it, who may read it.

Creates directories and nothing else. Standard library only: a worker and `paddock --help` ask here
too. Every package may import it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.errors import NotAHome, NotPrivate

PRIVATE: Final = 0o700
LOOKED_AT: Final = 0o2710  # for a group: names are known or not found; what is made here is its
_ADDRESS_BYTES: Final = 107  # sun_path is 108 bytes with its closing zero


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one home; nothing is promised to exist."""

    root: Path

    @property
    def database(self) -> Path:
        """The store."""
        return self.root / "paddock.db"

    @property
    def identity(self) -> Path:
        """Which store this home has."""
        return self.root / "home.json"

    @property
    def journal(self) -> Path:
        """The gateway's requests of the last moments, until the store has them."""
        return self.root / "requests.journal"

    @property
    def config(self) -> Path:
        """What people set."""
        return self.root / "config.toml"

    @property
    def control_socket(self) -> Path:
        """The Unix socket on which the node takes intents."""
        return self.root / "node.sock"

    @property
    def reads_socket(self) -> Path:
        """The Unix socket on which members of the group read the store."""
        return self.root / "reads.sock"

    @property
    def lock(self) -> Path:
        """Locked by the one node of this directory; contains its pid."""
        return self.root / "node.lock"

    @property
    def run(self) -> Path:
        """Sockets, for as long as processes live."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """The logs of the processes."""
        return self.root / "logs"

    @property
    def models(self) -> Path:
        """Model files that Paddock itself fetched or trained."""
        return self.root / "models"

    @property
    def secrets(self) -> Path:
        """API keys of upstreams, one file each, readable by the node's user alone."""
        return self.root / "secrets"

    @property
    def gateway_socket(self) -> Path:
        """The gateway's socket for the jobs of this home's own processes."""
        return self.run / "gateway.sock"

    @property
    def gateway_lock(self) -> Path:
        """Locked by the one gateway of this directory; contains its pid."""
        return self.run / "gateway.lock"

    def worker(self, instance: str) -> Path:
        """The socket of an instance, `ops-1.0.0:1`."""
        return self.run / f"worker-{instance}.sock"

    def server(self, instance: str) -> Path:
        """Where an instance of a supervised server is published while it takes requests."""
        return self.run / f"server-{instance}.json"

    def nudge(self, process: str) -> Path:
        """The datagram socket on which a process is nudged."""
        return self.run / f"{process}.nudge"

    def log(self, process: str) -> Path:
        """The log of a process."""
        return self.logs / f"{process}.log"


def find(explicit: Path | None = None) -> Home:
    """The home that was named, else $PADDOCK_HOME, else the one in the XDG state directory."""
    if explicit is not None:
        return Home(explicit.expanduser().absolute())
    if named := os.environ.get("PADDOCK_HOME"):
        return Home(Path(named).expanduser().absolute())
    return Home(state() / "paddock")


def state() -> Path:
    """The directory in which this user's programs keep what they know."""
    named = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(named).expanduser().absolute()


def beside(database: Path) -> tuple[Path, Path]:
    """What SQLite keeps beside the store while it is open: its log and that log's index."""
    return database.with_name(f"{database.name}-wal"), database.with_name(f"{database.name}-shm")


def make(home: Home) -> Home:
    """Create what is missing, readable by its owner alone. Doing it again changes nothing.

    A home that the node has opened to a group stays open until the node starts again.

    Raises:
        NotPrivate: the directory belongs to another user, cannot be entered, or is not a home
            and readable by others.
        NotAHome: it, or one of the directories in it, is something else.
    """
    try:
        home.root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        _claim(home)
    except PermissionError as error:
        raise NotPrivate(
            f"{home.root} cannot be made or used by this user ({error.strerror}); "
            "choose another home with PADDOCK_HOME or --home."
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise NotAHome(
            f"{home.root} is not a directory; choose another home with PADDOCK_HOME or --home."
        ) from error
    except OSError as error:  # /proc/nope, a name that is too long, a file system that is read-only
        raise NotAHome(
            f"{home.root} cannot be made ({error.strerror}); "
            "choose another home with PADDOCK_HOME or --home."
        ) from error
    for inner in (home.run, home.logs, home.models, home.secrets):
        try:
            inner.mkdir(mode=PRIVATE, exist_ok=True)
        except FileExistsError as error:
            raise NotAHome(
                f"{inner} is not a directory; rename or remove it, and start again."
            ) from error
        inner.chmod(PRIVATE)
    return home


def _claim(home: Home) -> None:
    found = home.root.stat()
    if found.st_uid != os.geteuid():
        raise NotPrivate(
            f"{home.root} belongs to another user (uid {found.st_uid}); run as that user, "
            "or choose another home with PADDOCK_HOME or --home."
        )
    mode = stat.S_IMODE(found.st_mode)
    made = begun(home)  # a home whose store is gone is ours
    if mode == PRIVATE or (mode == LOOKED_AT and made):
        return
    if not (
        made or home.config.exists() or not any(home.root.iterdir())
    ):  # never close a directory to others that was not made for this
        raise NotPrivate(
            f"{home.root} holds other files and can be read by others; choose an empty directory "
            f"as home, or close this one with `chmod 700 {home.root}`."
        )
    home.root.chmod(PRIVATE)


def begun(home: Home) -> bool:
    """Whether the home has a store, or had one."""
    return home.database.exists() or home.identity.exists()


@contextmanager
def short(path: Path) -> Iterator[str]:
    """An address of a Unix socket that fits into what the kernel takes; use it while it lasts.

    A path of up to 107 bytes is its own address; a longer one is reached through a descriptor of
    its directory. Bind and connect inside the `with`.
    """
    address = str(path)
    if len(os.fsencode(address)) <= _ADDRESS_BYTES:
        yield address
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
