"""What is particular to SQLite: connections, pragmas, and reading a store that is not open."""
