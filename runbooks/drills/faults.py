"""The faults that drills inject, by name.

Each harms only what its drill made: its own service, worker, files and load. Imported by
`runbooks.drills.perform`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runbooks.drills.drill import Fault
from runbooks.drills.file_faults import CorruptModel, DiskFull
from runbooks.drills.traffic_faults import BadAnswers, CostSpike, LongPromptFlood, SlowCandidate
from runbooks.drills.worker_faults import WorkerKilled, WorkerStopped

FAULTS: Final[Mapping[str, type[Fault]]] = {
    "long-prompt-flood": LongPromptFlood,
    "slow-candidate": SlowCandidate,
    "worker-killed": WorkerKilled,
    "worker-stopped": WorkerStopped,
    "corrupt-model": CorruptModel,
    "disk-full": DiskFull,
    "cost-spike": CostSpike,
    "bad-answers": BadAnswers,
}
