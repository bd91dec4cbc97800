"""Bytes that a face takes in a store of payloads: bare, and in the tables that ``cameo compress FOLDER`` writes."""

import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from tests.faces import astronaut

SIDE = 320  # pixels of the photos
REACH = 24  # pixels by which they are shifted at most


def measure_bytes(store: Path, models: tuple[str, ...], rows: int) -> dict[str, Any]:
    """Bytes a face by model, over so many photos that all differ."""
    found: dict[str, Any] = {"rows": rows}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        for k, photo in enumerate(tqdm(_photos(rows), total=rows, desc="photos")):
            (folder / "photos" / f"{k:08}.jpg").write_bytes(photo)
        for model in models:
            table = folder / f"{model}.parquet"
            _compress(store, model, folder / "photos", table)
            found[model] = _sizes(table, rows)
    return found


def _compress(store: Path, model: str, photos: Path, table: Path) -> None:
    options = ["--store", str(store.absolute()), "--model", model, "--effort", "fast", "-o", str(table)]
    subprocess.run([sys.executable, "-m", "cameo.cli", "compress", str(photos), *options], check=True)


def _sizes(table: Path, rows: int) -> dict[str, Any]:
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    faces = parquet.read_table(table)
    payloads = [each for each in faces["payload"].to_pylist() if each is not None]
    narrow = table.with_suffix(".narrow.parquet")
    ids = faces["id"].to_pylist()
    import pyarrow as pa  # noqa: PLC0415 - an extra

    digests = pa.array([bytes.fromhex(each) for each in ids], pa.binary(32))
    parquet.write_table(pa.table({"id": digests, "payload": faces["payload"]}), narrow, compression="zstd")
    return {
        "faces": len(payloads),
        "different": len(set(payloads)),
        "payload": round(sum(map(len, payloads)) / rows, 1),
        "table": round(table.stat().st_size / rows, 1),
        "digest and payload": round(narrow.stat().st_size / rows, 1),
    }


def _photos(count: int) -> Iterator[bytes]:
    """The face at other places and in other light: JPEGs of ``SIDE`` pixels."""
    draw, face = np.random.default_rng(0), astronaut()
    for _ in range(count):
        x, y = draw.integers(0, REACH, 2)
        light = draw.normal(1, 0.2, (4, 4, 3)).clip(0.4, 1.6).astype(np.float32)
        smooth = [np.asarray(Image.fromarray(light[..., c]).resize((SIDE, SIDE))) for c in range(3)]
        crop = face[y : y + SIDE, 60 + x : 60 + x + SIDE]
        lit = (crop * np.stack(smooth, -1)).clip(0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(lit).save(out, "JPEG", quality=90)
        yield out.getvalue()
