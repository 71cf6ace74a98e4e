"""Alerts: rules evaluated over recorded series, their states, and who is told."""
