"""The journal in one SQLite file: durable, embedded, owned by one process at a time."""
