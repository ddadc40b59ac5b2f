"""Foreign suites against this server, beside uvicorn: `make compliance` runs them and prints one table.

What others wrote is fetched when it is run and stays in `var/compliance`; only the cases of `requests` are ours, and
only those are part of `make test`.
"""
