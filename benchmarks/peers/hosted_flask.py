"""What the servers of benchmarks/hosting.py serve: Flask, and nothing else in its process."""

from __future__ import annotations

from flask import Flask

app = Flask("hosted")


@app.get("/")
def hello() -> str:
    return "hello"
