"""The metrics of several processes as one Prometheus text: a `process` label on every sample. Pure.

Samples of one metric must stand together under one HELP and one TYPE (text format 0.0.4), so the texts are taken
apart and put together again, not just appended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from skerry.telemetry import Metric

_SAMPLE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})?( [-+]?(?:[0-9.][0-9.eE+-]*|NaN|Inf)(?: -?[0-9]+)?)"
)
_SUFFIXES = ("_bucket", "_sum", "_count", "_total", "_created")


@dataclass(slots=True)
class _Family:
    comments: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)


def merged(texts: Mapping[str, str]) -> str:
    """One exposition of those of many processes, by process name. Lines that are no samples are left out."""
    families: dict[str, _Family] = {}
    for process, text in texts.items():
        label = f'process="{_escaped(process)}"'
        seen: set[str] = set()
        for line in text.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                name = line.split(" ", 3)[2]
                seen.add(name)
                family = families.setdefault(name, _Family())
                if not any(known[:7] == line[:7] for known in family.comments):
                    family.comments.append(line)
            elif line and not line.startswith("#"):
                found = _SAMPLE.fullmatch(line)
                if found is not None:
                    name = _family_of(found[1], seen)
                    families.setdefault(name, _Family()).samples.append(_labelled(found, label))
    lines: list[str] = []
    for family in families.values():
        lines += family.comments
        lines += family.samples
    return "\n".join(lines) + "\n" if lines else ""


def gauge(name: str, text: str, values: Iterable[tuple[str, float]], kind: str = "gauge") -> str:
    """An exposition of one number for each of some processes."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f'{name}{{process="{_escaped(process)}"}} {value:g}' for process, value in values]
    return "\n".join(lines) + "\n"


def _family_of(sample: str, declared: set[str]) -> str:
    if sample in declared:
        return sample
    for suffix in _SUFFIXES:
        if sample.endswith(suffix) and sample.removesuffix(suffix) in declared:
            return sample.removesuffix(suffix)
    return sample


def _labelled(found: re.Match[str], label: str) -> str:
    labels = found[2]
    if labels is None or labels == "{}":
        return f"{found[1]}{{{label}}}{found[3]}"
    return f"{found[1]}{{{label},{labels[1:]}{found[3]}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def exposition(metrics: Iterable[Metric]) -> str:
    """Metrics as Prometheus text (format 0.0.4)."""
    lines: list[str] = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        for sample in metric.samples:
            labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels)
            lines.append(
                f"{sample.name}{{{labels}}} {sample.value!r}" if labels else f"{sample.name} {sample.value!r}"
            )
    return "\n".join(lines) + "\n" if lines else ""
