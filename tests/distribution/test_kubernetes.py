"""The manifests of deploy/kubernetes, rendered by the kubectl of a wheel: valid, confined, and as the app is."""

import functools
import json
import math
import os
import re
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as operator
from pydantic import BaseModel, ValidationError

from app.api import health
from app.config import Settings, unknown_variables

Resource = dict[str, Any]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
COMPONENTS = sorted(path.name for path in (FOLDER / "components").iterdir())
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
SERVING = [*OVERLAYS, *(f"with {name}" for name in COMPONENTS)]
EVERYTHING = [*SERVING, "training"]
NEWEST = kubernetes_validate.latest_version()
CUSTOM: dict[str, type[BaseModel]] = {
    "ScaledObject": keda.ScaledObject,
    "ServiceMonitor": operator.ServiceMonitor,
    "PrometheusRule": operator.PrometheusRule,
}
COSTS = json.loads((ROOT / "docs" / "scale" / "costs.json").read_text())
SPARE = 5  # seconds that a process may need beside its drain and grace
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def kustomize(folder: Path) -> list[Resource]:
    """What `kubectl apply -k` would send."""
    kubectl = Path(sysconfig.get_path("scripts"), "kubectl")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An overlay, the training job, or ``with COMPONENT``: the base and this component alone."""

    @functools.cache
    def rendered(name: str) -> list[Resource]:
        if not name.startswith("with "):
            return kustomize(FOLDER / ("training" if name == "training" else f"overlays/{name}"))
        folder = tmp_path_factory.mktemp("overlay").resolve()
        here = Path(os.path.relpath(FOLDER, folder))
        content = {
            "resources": [str(here / "base")],
            "components": [str(here / "components" / name.split()[1])],
            "namespace": "cameo",
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return kustomize(folder)

    return rendered


def of(resources: list[Resource], kind: str) -> Resource:
    (found,) = [each for each in resources if each["kind"] == kind]
    return found


def pods(resources: list[Resource]) -> Iterator[Resource]:
    """The specs of all pods."""
    for each in resources:
        if each["kind"] in {"Deployment", "Job"}:
            yield each["spec"]["template"]["spec"]


def settings_of(resources: list[Resource]) -> dict[str, str]:
    """The environment of the service, without what Secrets give."""
    (container,) = of(resources, "Deployment")["spec"]["template"]["spec"]["containers"]
    maps = {each["metadata"]["name"]: each["data"] for each in resources if each["kind"] == "ConfigMap"}
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            found |= maps[source["configMapRef"]["name"]]
    return found | {each["name"]: each["value"] for each in container.get("env", [])}


def check(resource: Resource) -> None:
    """ValidationError unless its kind's schema knows every field and takes every value."""
    model = CUSTOM.get(resource["kind"])
    if model is None:
        kubernetes_validate.validate(resource, NEWEST, strict=True)
        return
    read = model.model_validate(resource).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert read == resource, "a field that the schema does not know"


@pytest.mark.parametrize("name", EVERYTHING)
def test_resources_are_valid(render: Any, name: str) -> None:
    for resource in render(name):
        check(resource)


@pytest.mark.parametrize(
    ("name", "kind", "path", "value"),
    [
        ("fleet", "Deployment", ["spec", "template", "spec", "terminationGraceSeconds"], 45),
        ("fleet", "Deployment", ["spec", "replicas"], "three"),
        ("fleet", "ScaledObject", ["spec", "minReplicas"], 3),
        ("fleet", "ScaledObject", ["spec", "minReplicaCount"], "few"),
        ("fleet", "ServiceMonitor", ["spec", "endpoint"], []),
        ("fleet", "PrometheusRule", ["spec", "groups"], [{"rules": []}]),
    ],
)
def test_a_wrong_field_is_found(render: Any, name: str, kind: str, path: list[str], value: Any) -> None:
    wrong = json.loads(json.dumps(of(render(name), kind)))
    place = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises((kubernetes_validate.ValidationError, ValidationError, AssertionError)):
        check(wrong)


@pytest.mark.parametrize("name", EVERYTHING)
def test_pods_are_confined(render: Any, name: str) -> None:
    for pod in pods(render(name)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "a Service named cameo would set CAMEO_PORT to tcp://..."
        user = pod["securityContext"]
        assert user["runAsNonRoot"] is True
        assert user["runAsUser"] == user["runAsGroup"] == user["fsGroup"] == 1000
        assert user["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"requests", "limits"} <= container["resources"].keys()
        for volume in pod["volumes"]:
            assert "hostPath" not in volume
            if "emptyDir" in volume:
                assert "sizeLimit" in volume["emptyDir"]


def test_the_user_is_that_of_the_image() -> None:
    assert re.search(r"^USER 1000:1000$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", EVERYTHING)
def test_images_have_the_version_of_the_project(render: Any, name: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for pod in pods(render(name)):
        for container in pod["containers"]:
            assert re.fullmatch(rf"cameo:{re.escape(version)}(-cuda|-train)?", container["image"])


@pytest.mark.parametrize("name", SERVING)
def test_the_service_takes_every_variable(render: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings_of(render(name))
    assert unknown_variables(given) == []
    for variable in list(os.environ):
        if variable.startswith("CAMEO_"):
            monkeypatch.delenv(variable)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    Settings()


@pytest.mark.parametrize("name", SERVING)
def test_a_pod_has_the_time_that_its_settings_promise(render: Any, name: str) -> None:
    given = settings_of(render(name))
    pod = of(render(name), "Deployment")["spec"]["template"]["spec"]
    needed = float(given["CAMEO_DRAIN_SECONDS"]) + float(given["CAMEO_GRACE_SECONDS"]) + SPARE
    assert pod["terminationGracePeriodSeconds"] >= needed


@pytest.mark.parametrize("name", SERVING)
def test_files_that_settings_name_are_mounted(render: Any, name: str) -> None:
    pod = of(render(name), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert {each["name"] for each in mounts.values()} == {each["name"] for each in pod["volumes"]}
    assert not any("subPath" in each for each in mounts.values()), "a file mounted so never changes"
    for variable, value in settings_of(render(name)).items():
        if value.startswith("/"):
            assert any(Path(value).is_relative_to(place) for place in mounts), f"{variable}={value}"


@pytest.mark.parametrize("name", SERVING)
def test_requests_are_what_was_measured(render: Any, name: str) -> None:
    (container,) = of(render(name), "Deployment")["spec"]["template"]["spec"]["containers"]
    requests, limits, measured = *(container["resources"][k] for k in ("requests", "limits")), COSTS["pod"]
    assert requests["cpu"] == limits["cpu"] == str(measured["workers"])
    assert in_bytes(requests["memory"]) == up(measured["usual_peak_mb"] * 10**6, 2**28), "the next 256 MiB"
    bodies = Settings.model_fields["body_memory_mb"].default * 2**20
    assert in_bytes(limits["memory"]) == up(measured["worst_peak_mb"] * 10**6 + bodies, 2**29), "the next 512 MiB"


@pytest.mark.parametrize("name", EVERYTHING)
def test_temporary_folders_fit_into_the_pod(render: Any, name: str) -> None:
    for pod in pods(render(name)):
        (container,) = pod["containers"]
        folders = {each["name"]: each["emptyDir"] for each in pod["volumes"] if "emptyDir" in each}
        on_disk = sum(in_bytes(each["sizeLimit"]) for each in folders.values() if "medium" not in each)
        assert on_disk < in_bytes(container["resources"]["limits"]["ephemeral-storage"])
        if "cache" in folders and name != "training":
            cache = int(settings_of(render(name))["CAMEO_CACHE_MB"]) * 2**20
            assert cache < in_bytes(folders["cache"]["sizeLimit"])


def in_bytes(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def up(number: float, step: int) -> int:
    return math.ceil(number / step) * step


@pytest.mark.parametrize("name", SERVING)
def test_probes_ask_what_the_app_answers(render: Any, name: str) -> None:
    (container,) = of(render(name), "Deployment")["spec"]["template"]["spec"]["containers"]
    routes = {getattr(route, "path", None) for route in health.router.routes}
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {each["path"] for each in asked.values()} <= routes
    assert asked["readiness"]["path"] == "/readyz"
    assert asked["liveness"]["path"] == "/livez", "a busy or empty service is no reason to start it again"
    assert {each["port"] for each in asked.values()} == {"http"}
    (port,) = container["ports"]
    assert port["name"] == "http"
    assert re.search(rf"^EXPOSE {port['containerPort']}$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] > 10 * COSTS["pod"]["start_core_seconds"]


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_selects_pods_finds_them(render: Any, name: str) -> None:
    resources = render(name)
    work = of(resources, "Job" if name == "training" else "Deployment")
    labels = work["spec"]["template"]["metadata"]["labels"]
    selectors = [of(resources, "Service")["spec"]["selector"]]
    selectors.append(of(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"])
    spread = work["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selectors += [each["labelSelector"]["matchLabels"] for each in spread]
    if name != "training":
        selectors += [
            of(resources, kind)["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget")
        ]
        assert {each["topologyKey"] for each in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert all(selector.items() <= labels.items() for selector in selectors)


@pytest.mark.parametrize("name", EVERYTHING)
def test_pods_reach_only_what_they_need(render: Any, name: str) -> None:
    policy = of(render(name), "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule.get("from") for rule in policy["ingress"])
    assert all(rule.get("to") for rule in policy["egress"])
    stores = name == "training" or settings_of(render(name)).get("CAMEO_STORE", "").startswith("s3://")
    outside = [peer for rule in policy["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert bool(outside) == stores
    assert all("169.254.0.0/16" in peer["ipBlock"]["except"] for peer in outside), "the cloud's metadata of the node"


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_secret_is_in_the_repository(render: Any, name: str) -> None:
    assert not [each for each in render(name) if each["kind"] == "Secret"]
    assert {each["metadata"].get("namespace") for each in render(name) if each["kind"] != "Namespace"} == {"cameo"}


@pytest.mark.parametrize(("component", "kind"), [("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")])
def test_replicas_are_the_autoscalers_alone(render: Any, component: str, kind: str) -> None:
    resources = render(f"with {component}")
    deployment = of(resources, "Deployment")
    assert "replicas" not in deployment["spec"], "every apply would set them back"
    assert of(resources, kind)["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_both_autoscalers_want_the_same(render: Any) -> None:
    (pod,) = pods(render("with hpa"))
    cores = float(pod["containers"][0]["resources"]["requests"]["cpu"])
    cpu, backlog = (metric for metric in of(render("with hpa"), "HorizontalPodAutoscaler")["spec"]["metrics"])
    scaled = of(render("with keda"), "ScaledObject")["spec"]
    thresholds = {each["name"]: float(each["metadata"]["threshold"]) for each in scaled["triggers"]}
    assert thresholds["busy-cores"] == cores * cpu["resource"]["target"]["averageUtilization"] / 100
    assert thresholds["backlog"] == float(backlog["pods"]["target"]["averageValue"])
    assert all('namespace="cameo"' in each["metadata"]["query"] for each in scaled["triggers"]), "no other fleet's"
    hpa = of(render("with hpa"), "HorizontalPodAutoscaler")["spec"]
    assert scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == hpa["behavior"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (hpa["minReplicas"], hpa["maxReplicas"])


def test_the_monitor_finds_the_service(render: Any) -> None:
    service, monitor = (of(render("with monitoring"), kind) for kind in ("Service", "ServiceMonitor"))
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,), (port,) = monitor["spec"]["endpoints"], service["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    assert endpoint["path"] in {getattr(route, "path", None) for route in health.router.routes}
    assert service["metadata"]["name"] == "cameo", "the label job of its metrics, which the alerts select"


def test_pods_of_the_training_job_find_each_other(render: Any) -> None:
    job, service = of(render("training"), "Job"), of(render("training"), "Service")
    pod, name = job["spec"]["template"]["spec"], job["metadata"]["name"]
    options = dict(each.lstrip("-").split("=") for each in pod["containers"][0]["args"] if "=" in each)
    assert job["spec"]["completionMode"] == "Indexed"
    assert int(options["nnodes"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert options["node-rank"] == "$(JOB_COMPLETION_INDEX)"
    assert options["master-addr"] == f"{name}-0.{service['metadata']['name']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert int(options["master-port"]) == service["spec"]["ports"][0]["port"]
    command = pod["containers"][0]["args"]
    assert (ROOT / command[command.index("run") + 1]).is_file()
