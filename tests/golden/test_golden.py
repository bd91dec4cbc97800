"""Payloads written once must stay readable: the same tokens on every machine, the same picture within rounding.

    python -m pytest tests/golden --regenerate

writes the files anew, which only a new published version should ever need.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app import codec
from app.engine.models import Coder
from app.images import encode
from app.portrait import Framer
from app.quality import IdentityJudge, enlarge, installed_judge
from app.store.registry import Registry
from tests.faces import astronaut

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LEAST_IDENTITY = {"vae-64": 0.4, "vqvae-64": 0.6, "vqvae-128": 0.8}  # for one face that no model has seen


@pytest.fixture(scope="module")
def shipped() -> Registry[Coder]:
    registry: Registry[Coder] = Registry(ROOT / "model_store", lambda stored: Coder(stored, torch.device("cpu")))
    registry.open()
    return registry


def names() -> list[str]:
    return sorted(f"{folder.parent.name}-{folder.name}" for folder in (ROOT / "model_store").glob("*/[0-9]*"))


def coder_of(shipped: Registry[Coder], name: str) -> Coder:
    model, _, version = name.rpartition("-")
    return shipped.get(model, int(version)).model


def sha256(tokens: np.ndarray) -> str:
    return hashlib.sha256(tokens.astype("<i8").tobytes()).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def regenerated(request: pytest.FixtureRequest, shipped: Registry[Coder]) -> None:
    if not request.config.getoption("--regenerate"):
        return
    framer = Framer()
    for name in names():
        coder = coder_of(shipped, name)
        tokens = coder.tokens(framer.auto(astronaut(), coder.size).portrait)
        (HERE / f"{name}.cameo").write_bytes(coder.pack(tokens))
        (HERE / f"{name}.png").write_bytes(encode(coder.reconstruct(tokens), "image/png"))
        (HERE / f"{name}.json").write_text(json.dumps({"tokens_sha256": sha256(tokens)}) + "\n")


def test_every_shipped_version_serves(shipped: Registry[Coder]) -> None:
    assert shipped.refused == ()
    assert set(LEAST_IDENTITY) <= set(shipped.names())


@pytest.mark.parametrize("name", names())
def test_a_golden_payload_gives_its_tokens_and_its_face(shipped: Registry[Coder], name: str) -> None:
    coder = coder_of(shipped, name)
    payload = codec.unwrap((HERE / f"{name}.cameo").read_bytes())
    assert payload.tag == coder.stored.tag
    tokens = coder.unpack(payload)
    assert sha256(tokens) == json.loads((HERE / f"{name}.json").read_text())["tokens_sha256"]
    golden = np.asarray(Image.open(HERE / f"{name}.png")).astype(int)
    assert np.abs(coder.reconstruct(tokens).astype(int) - golden).max() <= 1


@pytest.mark.parametrize("name", names())
def test_tokens_and_pictures_do_not_depend_on_threads(shipped: Registry[Coder], name: str) -> None:
    coder = coder_of(shipped, name)
    portrait = Framer().auto(astronaut(), coder.size).portrait
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = coder.tokens(portrait)
        torch.set_num_threads(2)
        two = coder.tokens(portrait)
    finally:
        torch.set_num_threads(before)
    # A latent that lies on the border of two codes may fall to either side; more than that would be a fault.
    assert (one != two).sum() <= 1


@pytest.mark.parametrize(("name", "least"), LEAST_IDENTITY.items())
def test_the_person_stays_the_person(shipped: Registry[Coder], name: str, least: float) -> None:
    weights = installed_judge()
    assert weights is not None
    coder = shipped.get(name).model
    framer = Framer()
    original = framer.auto(astronaut(), 128).portrait
    face = coder.reconstruct(coder.tokens(framer.auto(astronaut(), coder.size).portrait))
    assert IdentityJudge(weights).similarity(original, enlarge(face)) >= least
