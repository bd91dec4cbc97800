"""deploy/ray/: what Ray, KubeRay and the settings would refuse, or silently ignore."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config import Settings
from app.serve.hold import middlewares
from tests.service.server import ROOT

SERVE = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
SERVICE = yaml.safe_load((ROOT / "deploy/ray/rayservice.yaml").read_text())
CLUSTER: dict[str, Any] = SERVICE["spec"]["rayClusterConfig"]
PODS = [group["template"]["spec"] for group in (CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"])]
IN_KUBERNETES = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])


@pytest.mark.parametrize("config", [SERVE, IN_KUBERNETES])
def test_ray_takes_the_serve_configs(config: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415

        from app.serve.replica import Options  # noqa: PLC0415
    application = ServeDeploySchema.model_validate(config).applications[0]
    assert application.import_path == "app.serve.replica:build"
    Options.model_validate(application.args)
    [deployment] = application.deployments
    assert deployment.graceful_shutdown_timeout_s > Settings().grace_seconds
    assert deployment.max_ongoing_requests >= Settings().connections


def test_both_serve_configs_are_of_one_deployment() -> None:
    """They differ in where they listen, and in how many replicas there are where."""
    own, other = (dict(config["applications"][0]["deployments"][0]) for config in (SERVE, IN_KUBERNETES))
    assert other.pop("max_replicas_per_node") == 1, "a pod shows the metrics of one"
    assert own.pop("autoscaling_config")["target_ongoing_requests"] == 4
    assert other.pop("autoscaling_config")["target_ongoing_requests"] == 4
    assert own == other


def test_pods_are_restricted_and_have_more_time_than_their_replicas() -> None:
    for pod in PODS:
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
    replica = IN_KUBERNETES["applications"][0]["deployments"][0]
    assert PODS[1]["terminationGracePeriodSeconds"] > replica["graceful_shutdown_timeout_s"]
    cpus = int(PODS[1]["containers"][0]["resources"]["requests"]["cpu"])
    assert cpus == replica["ray_actor_options"]["num_cpus"]
    ports = {port["name"]: port["containerPort"] for port in PODS[1]["containers"][0]["ports"]}
    assert ports["metrics"] == IN_KUBERNETES["applications"][0]["args"]["metrics_port"]


def test_access_is_to_these_pods_and_their_ports() -> None:
    policy, monitor = yaml.safe_load_all((ROOT / "deploy/ray/access.yaml").read_text())
    groups = (CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"])
    labels = [group["template"]["metadata"]["labels"] for group in groups]
    assert all(each == policy["spec"]["podSelector"]["matchLabels"] for each in labels)
    assert monitor["spec"]["selector"] == policy["spec"]["podSelector"]
    opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule.get("ports", ())}
    has = {port["containerPort"] for pod in PODS for port in pod["containers"][0]["ports"]}
    assert opened <= has


def test_every_variable_means_something() -> None:
    import ray  # noqa: PLC0415

    known = (Path(ray.__file__).parent / "serve/_private/constants.py").read_text()
    page = (ROOT / "docs/ray.md").read_text()
    for pod in PODS:
        for variable in pod["containers"][0]["env"]:
            name = variable["name"]
            if name.startswith("CAMEO_"):
                assert name.removeprefix("CAMEO_").lower() in Settings.model_fields
            else:
                assert f'"{name}"' in known
                assert name in page
    for name in re.findall(r"RAY_SERVE_\w+", (ROOT / "deploy/ray/serve.yaml").read_text()):
        assert f'"{name}"' in known


def test_the_version_is_the_one_that_is_tested() -> None:
    import ray  # noqa: PLC0415

    assert CLUSTER["rayVersion"] == ray.__version__
    assert f"ray[data,serve]=={ray.__version__}" in (ROOT / "pyproject.toml").read_text()


def test_bodies_are_held_at_the_services_limit() -> None:
    [hold] = middlewares()
    assert hold.kwargs == {"limit": Settings().max_body_bytes}
