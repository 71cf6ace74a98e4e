"""Every place of the screen, and the keys that help lists for each.

A new place is a module here, its row in `keymap.PLACES` and its class below; its figures are a
module of `app.figures`, a field of `app.snapshot.Snapshot`, and a row of `app.figures.reading` and
of `app.figures.past_reading`. Imported by `app.tui`, the dispatcher and the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.screens.ab_tests import AbTests
from app.screens.alerts import Alerts
from app.screens.cost import Cost
from app.screens.gpu import Gpu
from app.screens.help import Help
from app.screens.incident import Incident
from app.screens.incidents import Incidents
from app.screens.job import Job
from app.screens.jobs import Jobs
from app.screens.ledger import Ledger
from app.screens.models import Models
from app.screens.place import Place
from app.screens.problems import Problems
from app.screens.prompt import Prompt
from app.screens.prompts import Prompts
from app.screens.pulse import Pulse
from app.screens.releases import Releases
from app.screens.replay import Replay
from app.screens.replays import Replays
from app.screens.request import Request
from app.screens.requests import Requests
from app.screens.rollout import Rollout
from app.screens.rollouts import Rollouts
from app.screens.run import Run
from app.screens.runbooks import Runbooks
from app.screens.traffic import Traffic

EVERY: Final[tuple[type[Place], ...]] = (
    Pulse, Problems, Incidents, Incident, Traffic, Rollouts, Rollout, Releases, Requests, Request,
    Prompts, Prompt, Models, AbTests, Replays, Replay, Runbooks, Run, Jobs, Job, Alerts,
    Cost, Gpu, Ledger, Help,
)  # fmt: skip

BY_NAME: Final[Mapping[str, type[Place]]] = {place.where: place for place in EVERY}
