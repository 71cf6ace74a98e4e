"""The verb of manifests: a service becomes what a file says."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage.control_socket.verbs import verb
from storage.control_socket.verbs.releases import Create
from storage.control_socket.verbs.verb import Arguments, Danger, Name, Process, Verb, Why
from storage.keys import Role
from storage.rollout_policies import Policy
from storage.rollout_steps import OnLabel


class Arm(Arguments, frozen=True, kw_only=True):
    """What answers a share of a service's requests."""

    weight_bp: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    release: Create


class Apply(Arguments, frozen=True, kw_only=True):
    """What the target should be: its arms, by their content; texts kept or not; whose staging.

    The service and the releases that do not exist are created. With `rollout` another release does
    not get the traffic at once, but by a rollout; the service keeps that policy. `on_label` is how
    it follows a label that moves; None leaves that as it is.
    """

    arms: Annotated[tuple[Arm, ...], Meta(min_length=1, max_length=32)]
    record_text: bool = False
    staging_of: Name | None = None
    rollout: Policy | None = None
    on_label: OnLabel | None = None

    def __post_init__(self) -> None:
        """Refuse weights that do not add up to 10000, and a rollout to several releases."""
        verb.check_total([arm.weight_bp for arm in self.arms])
        if self.rollout is not None and len(self.arms) > 1:
            raise ValueError("a rollout leads to one release, not to several - at `$.rollout`")


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "manifests.apply", Apply, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Make a service what a manifest says",
        "apply -f FILE",
        Why.ASKED,
    ),
)  # fmt: skip
