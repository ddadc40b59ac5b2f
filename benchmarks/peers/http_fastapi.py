"""The same values by FastAPI on uvicorn (httptools, uvloop, no access log)."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException, Response

sys.path.insert(0, str(Path(__file__).parent))
from http_dict import POSITION, values  # beside this file, shared by the peers

memory = {key: (value, number) for number, (key, value) in enumerate(values().items())}
app = FastAPI()


@app.get("/values/{key}")
async def get_value(key: str, response: Response) -> dict[str, str]:
    found = memory.get(key)
    if found is None:
        raise HTTPException(404)
    value, offset = found
    response.headers["ETag"] = f'"{offset}"'
    response.headers["Skerry-Position"] = POSITION
    return {"key": key, "value": value}


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
