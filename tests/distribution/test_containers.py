"""Dockerfile and docker-compose.yml say what they should; whether they build is tried by building."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OF_THE_IMAGE = {"CAMEO_HOST", "CAMEO_PORT", "CAMEO_STORE"}
DIGEST = r"@sha256:[0-9a-f]{64}"


@pytest.mark.parametrize("name", ["serve", "serve-gpu"])
def test_compose_forwards_every_setting(name: str) -> None:
    settings = {f"CAMEO_{each.upper()}" for each in Settings.model_fields}
    given = SERVICES[name]["environment"]
    assert given.keys() == settings - OF_THE_IMAGE
    fixed = {"CAMEO_OPEN"} | ({"CAMEO_DEVICE"} if name == "serve-gpu" else set())
    assert {each for each, value in given.items() if value is not None} == fixed, "null takes the value of outside"


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_has_limits(name: str) -> None:
    assert {"mem_limit", "cpus", "pids_limit"} <= SERVICES[name].keys()
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["cap_drop"] == ["ALL"]


def test_images_are_pinned_by_digest() -> None:
    for service in SERVICES.values():
        assert "build" in service or re.search(DIGEST + "$", service["image"])
    (base,) = re.findall(r"^ARG BASE=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert re.search(DIGEST + "$", base)


def test_the_context_holds_what_the_dockerfile_copies() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    wanted = {path for line in copied for path in line.split()}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert wanted == allowed
