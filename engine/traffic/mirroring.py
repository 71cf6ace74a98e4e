"""Which requests are copied to a shadow: a sticky share, by the bucket under a separate salt.

Pure: the same salt, unit and share give the same answer in every process, and a larger share keeps
every unit of a smaller one. The salt is the rollout's, so that copies are independent of the arms
of any split. Never looks at the load: what a busy box leaves out is decided elsewhere. Standard
library alone. Imported by `engine.execution`.
"""

from __future__ import annotations

from engine.traffic import routing


def salt(rollout: int) -> str:
    """The salt of a rollout's copies, by its number."""
    return f"shadow:{rollout}"


def copied(salt: str, unit: str, share_bp: int) -> bool:
    """Whether the requests of a unit (a user, a session, a request) are among the share."""
    return routing.bucket(salt, unit) < share_bp
