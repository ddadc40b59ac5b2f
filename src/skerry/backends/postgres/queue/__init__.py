"""The PostgreSQL transport: commands in a table, events by notifications; no broker beside the database."""
