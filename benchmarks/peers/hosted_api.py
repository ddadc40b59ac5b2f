"""What the servers of benchmarks/hosting.py serve: FastAPI, and nothing else in its process."""

from __future__ import annotations

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def number() -> dict[str, int]:
    return {"number": 1}
