"""`paddock alerts`: what is wrong by the rules, who knows of it, who is told."""

from __future__ import annotations

from app.commands import alert_rules, options

app = options.group()
app.command("series")(alert_rules.series)
app.add_typer(alert_rules.app, name="rules", help="What is alerted on.")
