"""The journal in PostgreSQL: for several processes and machines. Needs the extra `postgres`."""
