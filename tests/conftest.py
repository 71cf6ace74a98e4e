"""What holds for every test: how hypothesis behaves on a machine that is busy with other tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Neither is about the code under test: how fast examples are made or run is the machine's affair.
settings.register_profile("paddock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("paddock")
