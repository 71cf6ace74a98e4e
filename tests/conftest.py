"""What holds for every test: how hypothesis behaves on a busy machine, and kept bytecode."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Neither is about the code under test: how fast examples are made or run is the machine's affair.
settings.register_profile("paddock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("paddock")

# Tests start hundreds of processes; each would compile what it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
