"""Handlers and listeners: the command, query and event buses, and how commands travel and are decided in batches."""
