"""Payloads written once must stay readable: the same tokens on every machine, the same picture within rounding.

    python -m pytest tests/golden --regenerate

writes the files of versions that have none. Those that are there are never written again: they are what was promised.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cameo import codec
from cameo.coder.coder import Coder, load_model
from cameo.faces.framing import Framer
from cameo.faces.judge import IdentityJudge, installed_judge
from cameo.pictures.encode import encode
from cameo.pictures.quality import enlarge
from cameo.store import forever
from cameo.store.registry import Registry
from tests.faces import astronaut

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NO_CUDA = not torch.cuda.is_available()
BUDGETS = (32, 96, 320)  # of models with several rates
LEAST_IDENTITY = {
    "vae-64": 0.4,
    "vqvae-64": 0.6,
    "vqvae-128": 0.8,
    "cameo-128": 0.4,
}  # for one face that no model has seen


@pytest.fixture(scope="module")
def shipped() -> Registry[Coder]:
    registry: Registry[Coder] = Registry(ROOT / "model_store", lambda stored: Coder(stored, torch.device("cpu")))
    registry.open()
    return registry


def names() -> list[str]:
    """NAME-VERSION of each version on the list FOREVER, whether it is still there or not."""
    return [version.replace("/", "-") for version in forever.versions(ROOT / "model_store")]


def cases() -> list[str]:
    """NAME-VERSION, and NAME-VERSION@BYTES for a model with several rates."""
    several = {name for name in names() if json.loads(manifest(name).read_text()).get("default_rate")}
    return [
        case for name in names() for case in ([f"{name}@{budget}" for budget in BUDGETS] if name in several else [name])
    ]


def manifest(name: str) -> Path:
    model, _, version = name.rpartition("-")
    return ROOT / "model_store" / model / version / "manifest.json"


def coder_of(shipped: Registry[Coder], case: str) -> tuple[Coder, int | None]:
    name, _, budget = case.partition("@")
    model, _, version = name.rpartition("-")
    return shipped.get(model, int(version)).model, int(budget) if budget else None


def sha256(tokens: np.ndarray) -> str:
    return hashlib.sha256(tokens.astype("<i8").tobytes()).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def regenerated(request: pytest.FixtureRequest, shipped: Registry[Coder]) -> None:
    if not request.config.getoption("--regenerate"):
        return
    framer = Framer()
    for case in cases():
        if (HERE / f"{case}.json").exists():
            continue
        coder, budget = coder_of(shipped, case)
        payload = coder.pack(coder.tokens(framer.auto(astronaut(), coder.size).portrait), budget)
        tokens = coder.unpack(codec.unwrap(payload))
        (HERE / f"{case}.cameo").write_bytes(payload)
        (HERE / f"{case}.png").write_bytes(encode(coder.reconstruct(tokens), "image/png"))
        (HERE / f"{case}.json").write_text(json.dumps({"tokens_sha256": sha256(tokens)}) + "\n")


def test_no_published_version_has_left_or_changed() -> None:
    assert forever.problems(ROOT / "model_store") == []


def test_every_shipped_version_serves(shipped: Registry[Coder]) -> None:
    assert shipped.refused == ()
    assert set(LEAST_IDENTITY) <= set(shipped.names())


@pytest.mark.parametrize("case", cases())
def test_a_golden_payload_gives_its_tokens_and_its_face(shipped: Registry[Coder], case: str) -> None:
    coder, budget = coder_of(shipped, case)
    data = (HERE / f"{case}.cameo").read_bytes()
    assert budget is None or budget - 1 <= len(data) <= budget
    payload = codec.unwrap(data)
    assert payload.tag == coder.stored.tag
    tokens = coder.unpack(payload)
    assert sha256(tokens) == json.loads((HERE / f"{case}.json").read_text())["tokens_sha256"]
    golden = np.asarray(Image.open(HERE / f"{case}.png")).astype(int)
    assert np.abs(coder.reconstruct(tokens).astype(int) - golden).max() <= 1


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(NO_CUDA, reason="no GPU"))])
@pytest.mark.parametrize("case", cases())
def test_a_face_is_the_same_alone_in_a_batch_on_two_threads_and_on_a_gpu(
    shipped: Registry[Coder], case: str, device: str
) -> None:
    coder, _ = coder_of(shipped, case)
    model = load_model(coder.stored).to(device)
    idx = torch.from_numpy(coder.unpack(codec.unwrap((HERE / f"{case}.cameo").read_bytes())))[None].to(device)
    golden = np.asarray(Image.open(HERE / f"{case}.png")).astype(int)
    before = torch.get_num_threads()
    try:
        for threads, batch in ((1, 1), (2, 1), (1, 5), (2, 5)):
            torch.set_num_threads(threads)
            pictures = model.decode(idx.expand(batch, *idx.shape[1:])).permute(0, 2, 3, 1).numpy(force=True)
            assert np.abs(pictures.astype(int) - golden).max() <= 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", names())
def test_tokens_do_not_depend_on_threads(shipped: Registry[Coder], name: str) -> None:
    coder, _ = coder_of(shipped, name)
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
    payload = coder.pack(coder.tokens(framer.auto(astronaut(), coder.size).portrait))
    face = coder.reconstruct(coder.unpack(codec.unwrap(payload)))
    assert IdentityJudge(weights).similarity(original, enlarge(face)) >= least
