"""Schema 6: deployments are rows of their own, and releases may name an upstream or a server.

A deployment keeps the name that its releases gave to its worker, and a release its hash, which is
that of content schema 1.
"""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE deployments (
  name TEXT PRIMARY KEY,
  backend TEXT NOT NULL,
  identity TEXT NOT NULL,
  weights TEXT,
  engine TEXT,
  upstream TEXT,
  server TEXT,
  replicas INTEGER NOT NULL,
  status TEXT NOT NULL,
  status_reason TEXT,
  created_at_us INTEGER NOT NULL
) STRICT;
CREATE INDEX deployments_by_identity ON deployments (identity);

CREATE TABLE new_releases (
  number INTEGER PRIMARY KEY,
  sha256 TEXT NOT NULL UNIQUE,
  content_schema INTEGER NOT NULL,
  model_version_id INTEGER REFERENCES models (id),
  prompt_version_id INTEGER REFERENCES prompts (id),
  sampling TEXT NOT NULL,
  limits TEXT NOT NULL,
  engine TEXT,
  upstream TEXT,
  server TEXT,
  deployment TEXT NOT NULL REFERENCES deployments (name),
  adapter TEXT NOT NULL,
  created_at_us INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  comment TEXT NOT NULL
) STRICT;
"""

COPY: Final = """
INSERT INTO new_releases
  SELECT number, sha256, 1, model_version_id, prompt_version_id, sampling, limits, engine,
    NULL, NULL, worker, lane, created_at_us, created_by, comment
  FROM releases;

DROP TABLE releases;

ALTER TABLE new_releases RENAME TO releases;

CREATE INDEX releases_by_deployment ON releases (deployment);
"""

_WORKERS: Final = """
SELECT r.worker, r.engine, coalesce(b.sha256, m.sha256), min(r.created_at_us)
FROM releases AS r
JOIN models AS m ON m.id = r.model_version_id
LEFT JOIN models AS b ON b.id = m.base_id
GROUP BY r.worker
"""

_INSERT: Final = (
    "INSERT INTO deployments VALUES (?, 'local', ?, ?, ?, NULL, NULL, 1, 'active', NULL, ?)"
)

_BASELINE: Final = {  # what was left out of identities when this was written
    "context_tokens": 1024,
    "max_sequences": 16,
    "gpu_layers": -1,
    "threads": 0,
    "prefill_budget": 256,
}


async def up(connection: AsyncConnection) -> None:
    """Create the deployments of the releases, then give the releases their new columns."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
    for row in (await connection.exec_driver_sql(_WORKERS)).all():
        name, engine, sha256, at_us = tuple(row)
        settings = json.loads(engine)
        loaded = [
            [key, settings[key]] for key, usual in _BASELINE.items() if settings[key] != usual
        ]
        identity = json.dumps(["local", sha256, *loaded], separators=(",", ":"))
        await connection.exec_driver_sql(
            _INSERT,
            (name, identity, sha256, engine, at_us),
        )
    for statement in migrations.statements(COPY):
        await connection.exec_driver_sql(statement)
