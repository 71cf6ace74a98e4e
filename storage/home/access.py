"""Who besides the owner may read a data directory: one Unix group named in config.toml, or no one.

Members may open config.toml and connect to two sockets: the control socket, where roles decide what
each person may do (a member without a role is read-only), and the one on which the node reads the
store for them, with the texts that services record. They cannot open the store's own files: a lock
needs only read access, and a lock on them would stop every writer. Logs, models and all other
sockets remain the owner's. Never grants a role and never revokes a file that is open. Standard
library only. The node calls `admit`; readers call `require`.
"""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Final

from storage.errors import Closed, ConfigError, NotPrivate
from storage.home import paths as homes
from storage.home.paths import Home

_LOOK: Final = 0o640
_OWN: Final = 0o600
_CONNECT: Final = 0o660  # to connect is to write


def group(name: str | None) -> int | None:
    """The id of the group that may read; None: the owner alone.

    Raises:
        ConfigError: there is no such group, or this process may not hand files to it.
    """
    if name is None:
        return None
    try:
        found = grp.getgrnam(name)
    except KeyError:
        raise ConfigError(
            f"[people] group: there is no group {name!r} on this machine; make it with "
            f"`groupadd {name}`, or name another one in config.toml."
        ) from None
    if os.geteuid() == 0 or found.gr_gid in {os.getegid(), *os.getgroups()}:
        return found.gr_gid
    owner = user(os.geteuid())
    if owner in found.gr_mem:
        raise ConfigError(
            f"[people] group: {owner} joined {name} after this session began; log in again "
            "and start the node from there."
        )
    raise ConfigError(
        f"[people] group: {owner}, who runs this node, is not in {name} and cannot open the home "
        f"to it; run `usermod -aG {name} {owner}` as root, log in again and start the node."
    )


def admit(home: Home, gid: int | None) -> None:
    """Let the group look, or with None its owner alone. Doing it again changes nothing.

    The files of the store are its owner's either way; earlier versions opened them to the group.

    Raises:
        NotPrivate: the file system does not let us.
    """
    try:
        if gid is None:  # the gate first
            home.root.chmod(homes.PRIVATE)
        for path in (home.database, *homes.beside(home.database)):
            if path.exists():
                path.chmod(_OWN)
        if home.config.exists():
            _share(home.config, gid, _LOOK)
        if gid is not None:
            os.chown(home.root, -1, gid)
            home.root.chmod(homes.LOOKED_AT)
    except OSError as error:
        raise NotPrivate(f"Who may read {home.root} cannot be set: {error}.") from error


def admit_to_socket(path: Path, gid: int | None) -> None:
    """Let the group connect to a socket, or the owner alone."""
    _share(path, gid, _CONNECT)


def exposed(home: Home, name: str | None) -> Path | None:
    """What is open to more people than the owner and the group of that name; None if nothing is.

    The node sets the modes when it starts; someone may have changed them since, or copied the home.
    """
    gate = homes.PRIVATE if name is None else homes.LOOKED_AT
    allowed = [(home.root, gate), (home.secrets, homes.PRIVATE)]
    if name is not None:  # its members enter
        allowed += [(path, _OWN) for path in (home.database, *homes.beside(home.database))]
    for path, mode in allowed:
        try:
            found = path.stat()
        except FileNotFoundError:  # SQLite removes its log when the last process closes the store
            continue
        if found.st_mode & 0o777 & ~mode:
            return path
        if path == home.root and found.st_mode & 0o070 and found.st_gid != _gid(name):
            return path
    return None


def owns(home: Home) -> bool:
    """Whether this user opens the store's files; other users read through the node."""
    try:
        return os.geteuid() in {0, home.root.stat().st_uid}
    except OSError:
        return True


def _share(path: Path, gid: int | None, mode: int) -> None:
    if gid is not None:
        os.chown(path, -1, gid)
    path.chmod(_OWN if gid is None else mode)


def require(home: Home) -> None:
    """Check that this user may read the home; a home that is not there is no secret.

    Raises:
        Closed: they may not; the message says who can change that, and how.
    """
    try:
        os.stat(f"{home.root}/.")  # noqa: PTH116 a path of pathlib loses the dot: it is a directory
        if os.access(home.root, os.X_OK):
            home.database.stat()
            if os.access(home.database, os.R_OK) or not owns(home):
                return
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        pass
    raise closed(home)


def closed(home: Home) -> Closed:
    """Why this user is shut out, and who can change it."""
    me = user(os.geteuid())
    for folder in reversed(home.root.parents):
        if not os.access(folder, os.X_OK):
            return Closed(
                f"{me} may not enter {folder}, which contains {home.root}; ask its owner, or "
                "choose another home with PADDOCK_HOME or --home."
            )
    found = home.root.stat()
    owner, among = user(found.st_uid), _group(found.st_gid)
    if os.access(home.root, os.X_OK) or not found.st_mode & 0o010:
        return Closed(
            f"Only {owner} may read {home.root}, until `group` under [people] in its "
            "config.toml names a group that may, too, and the node starts again."
        )
    if me in _members(found.st_gid):
        return Closed(f"{me} joined the group {among} after this login: log in again to read it.")
    return Closed(
        f"{me} is not in the group {among}: `usermod -aG {among} {me}` as root, then log in again "
        f"to look into {home.root}."
    )


def user(uid: int) -> str:
    """The name of a user; one that the machine does not know is named by its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid{uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid{gid}"


def _gid(name: str | None) -> int | None:
    """The id of a group; None if the machine does not know it."""
    try:
        return None if name is None else grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _members(gid: int) -> list[str]:
    try:
        return grp.getgrgid(gid).gr_mem
    except KeyError:
        return []
