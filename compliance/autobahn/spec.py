"""Prints the suite's settings: spec.py PORT REPORT_DIRECTORY [CASES...]"""

from __future__ import annotations

import json
import os
import sys

port, report, *cases = sys.argv[1:]
spec = {
    "outdir": report,
    "servers": [{"agent": os.environ.get("SUBJECT", "skerry"), "url": f"ws://127.0.0.1:{port}/"}],
    # 9 is a load test, 12 and 13 are compression: minutes.
    "cases": ["*"] if cases in ([], ["--all"]) else cases,
    "exclude-cases": [] if cases else ["9.*", "12.*", "13.*"],
    "exclude-agent-cases": {},
}
print(json.dumps(spec))
