"""What a runbook can look at, by name: of a service, a deployment, a prompt, or the box.

Each probe reads the store and nothing else; figures are those of `storage.measures`,
`storage.instance_work` and `storage.machine`. None means that nothing was measured, which fails
every expectation. Imported by `runbooks` and `app`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runbooks.looking import box, deployment, prompt, service
from runbooks.looking.probe import Probe

__all__ = ["PROBES", "Probe"]

PROBES: Final[Mapping[str, Probe]] = {
    **service.PROBES,
    **deployment.PROBES,
    **prompt.PROBES,
    **box.PROBES,
}
