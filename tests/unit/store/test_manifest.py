import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cameo.store import Draft, Manifest, Weights
from cameo.store.manifest import digest, tag

README = Path(__file__).parents[3] / "model_store" / "README.md"


@pytest.fixture
def manifest(make_draft: Callable[..., Draft]) -> Manifest:
    return Manifest.complete(
        make_draft(), Weights(file="model.safetensors", sha256="cd" * 32, bytes=10, dtype="float32")
    )


def changed(manifest: Manifest, path: str, value: Any) -> bytes:
    """The manifest's text with one value changed, e.g. at ``training.data.0.people``."""
    raw = json.loads(manifest.to_json())
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    section = raw
    for part in parents:
        section = section[part]
    section[last] = value
    return json.dumps(raw).encode()


def test_round_trip(manifest: Manifest) -> None:
    assert Manifest.parse(manifest.to_json()) == manifest


def test_digest_and_tag_are_of_the_file_as_stored(manifest: Manifest) -> None:
    data = manifest.to_json()
    assert digest(data) == hashlib.sha256(data).hexdigest()
    assert tag(data).hex() == digest(data)[:4]
    assert tag(data + b"\n") != tag(data)


def test_times_are_kept_in_utc(manifest: Manifest) -> None:
    parsed = Manifest.parse(changed(manifest, "created", "2026-01-01T13:00:00+01:00"))
    assert parsed.created == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert b'"created": "2026-01-01T12:00:00Z"' in parsed.to_json()


def test_a_manifest_cannot_be_changed(manifest: Manifest) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        manifest.version = 2  # type: ignore[misc]


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_an_unknown_schema_is_refused_before_anything_else(manifest: Manifest, schema: object) -> None:
    raw = json.loads(changed(manifest, "schema_version", schema)) | {"a key of": "the future"}
    with pytest.raises(ValueError, match=f"schema version {schema!r}; this reader knows 1 only"):
        Manifest.parse(json.dumps(raw).encode())


def test_a_manifest_without_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema version None"):
        Manifest.parse(b"{}")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b'{"schema_version": NaN}', b"{} {}"])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        Manifest.parse(data)


@pytest.mark.parametrize("data", [b"[]", b"1", b"null"])
def test_json_other_than_an_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        Manifest.parse(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("surprise", 1),
        ("training.surprise", 1),
        ("name", "VQVAE"),
        ("name", "vqvae-64\n"),
        ("name", "../vqvae"),
        ("version", 0),
        ("version", "1"),
        ("created", "2026-01-01T12:00:00"),
        ("model", {"width": 64}),
        ("portrait", 96),
        ("tokens.shape", []),
        ("tokens.bits", 641),
        ("rates", []),
        ("rates", [90, 84]),
        ("rates", [84, 84]),
        ("default_rate", 85),
        ("default_rate", 0),
        ("default_rate", "84"),
        ("weights.file", "../model.safetensors"),
        ("weights.file", "/etc/model.safetensors"),
        ("weights.file", "model.pt"),
        ("weights.sha256", "CD" * 32),
        ("weights.bytes", 0),
        ("training.data.0.people", "many"),
        ("licence", ""),
    ],
)
def test_a_wrong_value_is_named(manifest: Manifest, path: str, value: object) -> None:
    place = "tokens" if path == "tokens.bits" else path
    with pytest.raises(ValueError, match=f"The manifest is wrong: {re.escape(place)}"):
        Manifest.parse(changed(manifest, path, value))


@pytest.mark.parametrize("key", ["name", "weights", "training", "quality", "licence"])
def test_a_missing_key_is_named(manifest: Manifest, key: str) -> None:
    raw = json.loads(manifest.to_json())
    del raw[key]
    with pytest.raises(ValueError, match=f"The manifest is wrong: {key}: Field required"):
        Manifest.parse(json.dumps(raw).encode())


def test_tokens_of_mixed_alphabets_state_their_bits_themselves(manifest: Manifest) -> None:
    parsed = Manifest.parse(changed(manifest, "tokens", {"shape": [96], "codebook_size": None, "bits": 501}))
    assert parsed.tokens.bits == 501


@pytest.mark.parametrize("rate", [None, 32, 96])
def test_a_default_rate_is_one_of_the_rates_or_none(make_draft: Callable[..., Draft], rate: int | None) -> None:
    assert make_draft(rates=[32, 96], default_rate=rate).default_rate == rate


def test_manifests_from_before_default_rates_are_read(manifest: Manifest) -> None:
    raw = json.loads(manifest.to_json())
    del raw["default_rate"]
    assert Manifest.parse(json.dumps(raw).encode()) == manifest


def test_of_wrong_rates_and_their_default_the_rates_are_named(manifest: Manifest) -> None:
    raw = json.loads(manifest.to_json()) | {"rates": [96, 32], "default_rate": 1}
    with pytest.raises(ValueError, match="The manifest is wrong: rates: "):
        Manifest.parse(json.dumps(raw).encode())


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_figure_that_json_cannot_say_is_not_written(make_draft: Callable[..., Draft], figure: float) -> None:
    weights = Weights(file="model.safetensors", sha256="cd" * 32, bytes=10, dtype="float32")
    with pytest.raises(ValueError, match=r"finite|JSON compliant"):
        Manifest.complete(make_draft(quality={"psnr_db": figure}), weights).to_json()


def test_the_example_in_the_readme_is_a_manifest() -> None:
    found = re.search(r"```json\n(\{\n  \"schema_version\".*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    assert Manifest.parse(found[1].encode()).name == "vqvae-64"
