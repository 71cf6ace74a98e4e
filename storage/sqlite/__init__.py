"""SQLite as the store: connections, pragmas, writes, upserts, reading a store that is not open."""
