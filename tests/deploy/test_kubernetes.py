"""The Kubernetes manifests, by their schema: what the API server would refuse, and what we promise of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml  # type: ignore[import-untyped]

from skerry.cli.main import main
from skerry.kernel.settings import FROM_FILE, load_settings, options

PATH = Path(__file__).parents[2] / "deploy" / "kubernetes" / "livekv.yaml"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
VERSIONS = {
    "ConfigMap": "v1", "Service": "v1", "Deployment": "apps/v1", "PodDisruptionBudget": "policy/v1",
}  # fmt: skip
KEYS = {
    "pod": {
        "terminationGracePeriodSeconds", "automountServiceAccountToken", "securityContext", "containers", "volumes",
        "topologySpreadConstraints",
    },
    "container": {
        "name", "image", "args", "envFrom", "env", "ports", "startupProbe", "readinessProbe", "livenessProbe",
        "lifecycle", "resources", "securityContext", "volumeMounts",
    },
    "probe": {"httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold"},
}  # fmt: skip


def items() -> list[dict[str, Any]]:
    found = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    assert (found["apiVersion"], found["kind"]) == ("v1", "List")
    listed: list[dict[str, Any]] = found["items"]
    return listed


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [item for item in items() if item["kind"] == kind]


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each deployment's role, its pod and that pod's one container."""
    for deployment in of_kind("Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        [container] = pod["containers"]
        yield container["name"], pod, container


def test_every_object_is_one_that_kubernetes_knows() -> None:
    """Kind and version, a name that may be one, and selectors that select what is there."""
    labels = []
    for item in items():
        assert item["apiVersion"] == VERSIONS[item["kind"]]
        assert NAME.fullmatch(item["metadata"]["name"])
    for deployment in of_kind("Deployment"):
        wanted = deployment["spec"]["selector"]["matchLabels"]
        labels.append(deployment["spec"]["template"]["metadata"]["labels"])
        assert wanted.items() <= labels[-1].items()
    for service in of_kind("Service"):
        assert any(service["spec"]["selector"].items() <= each.items() for each in labels)
    for budget in of_kind("PodDisruptionBudget"):
        assert len(budget["spec"].keys() & {"minAvailable", "maxUnavailable"}) == 1
        assert any(budget["spec"]["selector"]["matchLabels"].items() <= each.items() for each in labels)
    assert len(of_kind("PodDisruptionBudget")) == len(labels), "one for each"


@pytest.mark.parametrize(("role", "pod", "container"), list(pods()), ids=[role for role, _, _ in pods()])
def test_a_container_has_few_rights_and_says_how_it_is(
    role: str, pod: dict[str, Any], container: dict[str, Any]
) -> None:
    """Not root, nothing to write but its volumes, no capability; probes at the admin address, for what they ask."""
    assert pod.keys() <= KEYS["pod"]
    assert container.keys() <= KEYS["container"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001, "the user of deploy/Containerfile"
    rights = container["securityContext"]
    assert rights == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    ports = {port["name"] for port in container["ports"]}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name].keys() <= KEYS["probe"]
        assert container[name]["httpGet"]["port"] in ports
    asked = "/health/ready" if role == "consumer" else "/health/ready?for=traffic"
    assert container["readinessProbe"]["httpGet"]["path"] == asked
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert set(container["resources"]) == {"requests", "limits"}


def test_settings_and_commands_exist(tmp_path: Path) -> None:
    """Every variable is a setting with a value that it takes, secrets are files that are mounted, and each command line
    is one of ours; what has to be answered when a pod ends has the time for it."""
    [config] = of_kind("ConfigMap")
    known = {option.variable for option in options()} | {f"SKERRY_{name.upper()}_FILE" for name in FROM_FILE}
    data = config["data"]
    assert data.keys() <= known | {"SKERRY_RUNTIME_DIR"}
    assert {name for name in data if name.endswith("_FILE")} == {
        f"SKERRY_{n.upper()}_FILE" for n in FROM_FILE
    }
    values = {
        "journal": "postgresql://a/b",
        "transport": "amqp://a",
        "tokens": "read:a",
        "admin_token": "secret",
    }
    for name, value in values.items():
        (tmp_path / name).write_text(value)
    here = {name: data[name] for name in data if not name.endswith("_FILE")}
    here |= {f"SKERRY_{name.upper()}_FILE": str(tmp_path / name) for name in values}
    settings = load_settings({}, here, tmp_path)
    for role, pod, container in pods():
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert all(
            value.startswith(mounts["secrets"] + "/")
            for name, value in data.items()
            if name.endswith("_FILE")
        )
        assert data["SKERRY_DATA"] == mounts["data"]
        command = main.get_command(click.Context(main), container["args"][0])
        assert command is not None, role
        command.make_context(role, list(container["args"][1:]), resilient_parsing=False)
        waits = 5 if "lifecycle" in container else 0
        assert pod["terminationGracePeriodSeconds"] >= waits + settings.drain + 5
