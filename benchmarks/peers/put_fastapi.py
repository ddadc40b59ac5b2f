"""The peer for writes: FastAPI, one upsert and one confirmed publish per request. `put_fastapi.py PORT`."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import asyncpg
import uvicorn
from fastapi import FastAPI, Request

UPSERT = "insert into peer_values (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pool = await asyncpg.create_pool(os.environ["SKERRY_JOURNAL"], min_size=4, max_size=16)
    async with app.state.pool.acquire() as connection:
        await connection.execute(
            "create table if not exists peer_values (key text primary key, value text not null)"
        )
    connection = await aiormq.connect(os.environ["SKERRY_TRANSPORT"])
    app.state.channel = await connection.channel()
    await app.state.channel.exchange_declare("peer.events", exchange_type="fanout", durable=True)
    yield
    await connection.close()
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan)


@app.put("/values/{key}")
async def put_value(key: str, request: Request) -> dict[str, Any]:
    value = (await request.body()).decode()
    async with app.state.pool.acquire() as connection:
        await connection.execute(UPSERT, key, value)
    await app.state.channel.basic_publish(
        value.encode(),
        exchange="peer.events",
        properties=aiormq.spec.Basic.Properties(delivery_mode=2),
    )
    return {"key": key, "value": value, "message": "OK"}


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), log_level="error", access_log=False, loop="uvloop", http="httptools"
    )
