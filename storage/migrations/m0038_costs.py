"""Schema 38: prices, and what requests and the box used by quarter hour, for costs.

The usage of the requests that are kept is counted here; `worker` names an instance as ops-1.0.0:1,
whose deployment is ops-1.0.0.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE requests ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0;

CREATE TABLE prices (
  id INTEGER PRIMARY KEY,
  subject TEXT NOT NULL,
  from_s INTEGER NOT NULL,
  currency TEXT NOT NULL,
  micro INTEGER,
  input_micro INTEGER,
  output_micro INTEGER,
  cached_micro INTEGER,
  set_at_us INTEGER NOT NULL,
  set_by TEXT NOT NULL,
  intent_id INTEGER
) STRICT;

CREATE TABLE box_usage (
  quarter_s INTEGER PRIMARY KEY,
  devices INTEGER NOT NULL,
  device_us INTEGER NOT NULL,
  work_mj INTEGER,
  idle_mj INTEGER
) STRICT;

CREATE TABLE usage (
  quarter_s INTEGER NOT NULL,
  service TEXT NOT NULL,
  release INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  key_id INTEGER NOT NULL,
  deployment TEXT NOT NULL,
  requests INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  busy_us INTEGER NOT NULL,
  PRIMARY KEY (quarter_s, service, release, tenant, key_id, deployment)
) STRICT, WITHOUT ROWID;
INSERT INTO usage
  SELECT (at_us + latency_us) / 900000000 * 900, service, coalesce(release, 0), tenant, key_id,
         CASE WHEN rtrim(worker, '0123456789') LIKE '_%:' AND worker NOT LIKE '%:'
              THEN rtrim(rtrim(worker, '0123456789'), ':') ELSE worker END AS deployment,
         count(*), sum(prompt_tokens), 0, sum(completion_tokens), sum(busy_us)
  FROM requests GROUP BY 1, 2, 3, 4, 5, 6;
"""


async def up(connection: AsyncConnection) -> None:
    """Create the tables and count."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
