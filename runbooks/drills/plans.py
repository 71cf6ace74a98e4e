"""The drills by name, and what each rehearses.

Names and sentences only, so that a terminal can list them. Imported by `app` and
`runbooks.drills`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PLANS: Final[Mapping[str, str]] = {
    "long-prompt-flood": "Clients ask for long answers to long prompts, all at once.",
    "slow-candidate": "A release that answers ten times slower gets all of the traffic.",
    "worker-killed": "A worker dies while it answers, and again after each restart.",
    "worker-stopped": "A worker hangs, and again after each restart: it exists and does nothing.",
    "corrupt-model": "A model file that was cut off is added.",
    "disk-full": "The disk of a scratch store is full; the box's store is not touched.",
    "cost-spike": "Answers get many times longer than they were.",
    "bad-answers": "Users dislike a release's answers. 20 minutes: the alert rule waits for 15.",
}
