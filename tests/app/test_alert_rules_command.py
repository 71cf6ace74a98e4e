"""`paddock alerts rules` without a box: files are checked and the shipped rules are shown."""

from __future__ import annotations

import os
from pathlib import Path

from storage import alert_rule_files
from tests import paddock_commands


def test_a_file_of_rules_is_checked_without_a_node(tmp_path: Path) -> None:
    """In a pipeline, where no box is."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(alert_rule_files.write(alert_rule_files.shipped().values()))
    bad.write_text("groups:\n  - rules:\n      - alert: x\n        expr: no_such > 1\n")
    environment = {**os.environ, "PADDOCK_HOME": str(tmp_path / "home")}
    done = paddock_commands.run("alerts", "rules", "check", str(good), environment=environment)
    assert (done.returncode, "all of which can be used" in done.stdout) == (0, True)
    done = paddock_commands.run("alerts", "rules", "check", str(bad), environment=environment)
    assert done.returncode == 2
    assert f"{bad}:4: x: expr: there is no series no_such" in done.stderr
