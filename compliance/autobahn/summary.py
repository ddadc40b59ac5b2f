"""Says how the cases went: summary.py INDEX_JSON. Exit code 1 when one failed."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}

((agent, cases),) = json.loads(Path(sys.argv[1]).read_text()).items()
behaviours = Counter(case["behavior"] for case in cases.values())
closings = Counter(case["behaviorClose"] for case in cases.values())
print(f"autobahn: {agent}, {len(cases)} cases")
print("  behaviour: ", ", ".join(f"{number} {name}" for name, number in behaviours.most_common()))
print("  closing:   ", ", ".join(f"{number} {name}" for name, number in closings.most_common()))
bad = [n for n, c in cases.items() if c["behavior"] not in GOOD or c["behaviorClose"] not in GOOD]
for kind in ("NON-STRICT",):
    odd = [name for name, case in cases.items() if case["behavior"] == kind]
    if odd:
        print(f"  {kind.lower()}: {' '.join(sorted(odd))}")
if bad or not cases:
    print(f"  FAILED: {' '.join(bad) or 'no case ran'}")
    sys.exit(1)
