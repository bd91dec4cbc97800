"""Models out of run folders and out of the store."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cameo.codec import unwrap
from cameo.errors import DamagedPayload, RefusedVersion
from cameo.nn import Model, build
from cameo.nn.grid import GridVQVAE
from tests.tiny import CONFIGS, PROGRESSIVE, tiny_model
from tests.unit.training.conftest import picture
from training.checkpoint import tensors, write
from training.evaluation.contenders import Pixels
from training.evaluation.trained import NO_TAG, find, from_run, read_run
from training.kinds.progressive import RATES
from training.recipe import Recipe

GRID = {"kind": "vqvae-grid", "size": 64, "width": 8, "depth": 1, "codes": 16, "code_dim": 4}
DATA = [{"name": "blobs", "pictures": 24, "people": 24, "sha256": "0" * 64, "licence": "made up"}]


def grid_model(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    model = build(GRID).eval()
    assert isinstance(model, GridVQVAE)
    noise = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():  # any latents are codes
        z_1MD = model.quantiser.by_codebook(model.encoder(noise))
        model.quantiser.codebook_TKD.copy_(z_1MD[:, torch.randperm(z_1MD.shape[1])[:16]])
    return model


def make_run(folder: Path, model: Model, config: dict[str, Any], *, finished: bool = True, name: str = "tiny") -> Path:
    """A run folder as training leaves it, without the training."""
    recipe = Recipe.model_validate({
        "name": name, "description": "for tests", "model": config, "losses": {"kl": 0.1},
        "optimise": {"steps": 12, "batch": 8},
    })  # fmt: skip
    folder.mkdir(parents=True)
    said = {"recipe": recipe.model_dump(mode="json"), "commit": "0123abcd", "from": None}
    (folder / "recipe.json").write_text(json.dumps(said))
    state = {
        "step": 12, "seconds": 3.4, "machine": "an abacus", "data": DATA, "started": "2026-01-31T10:00:00Z",
    } | ({"finished": "2026-01-31T11:00:00Z"} if finished else {})  # fmt: skip
    write(folder / "checkpoint.pt", {"average": tensors(model), "state": state})
    return folder


def portraits(count: int) -> list[Pixels]:
    return [np.asarray(picture(seed, 128)) for seed in range(count)]


def models() -> dict[str, tuple[Model, dict[str, Any]]]:
    return {name: (tiny_model(name), config) for name, config in CONFIGS.items()} | {"grid": (grid_model(), GRID)}


@pytest.mark.parametrize("name", ["tiny-vae", "tiny-vqvae", "grid"])
def test_a_run_codes_into_payloads_and_draws_from_them(name: str, tmp_path: Path) -> None:
    model, config = models()[name]
    (trained,) = find(str(make_run(tmp_path / "run", model, config)), tmp_path / "nowhere")
    assert (trained.name, trained.version, trained.label) == ("tiny", None, str(tmp_path / "run"))
    coded = trained.code(portraits(3))
    payloads = [payload for payload, _ in coded]
    assert len(set(payloads)) == 3
    assert all(size == len(payload) and unwrap(payload).tag == NO_TAG for payload, size in coded)
    assert [tokens.shape for tokens in trained.tokens(payloads)] == [model.levels.shape] * 3
    pictures = trained.show(payloads)
    assert {picture.shape for picture in pictures} == {(config["size"], config["size"], 3)}
    # Each payload by itself gives the same.
    np.testing.assert_array_equal(trained.show(payloads[1:2])[0], pictures[1])


def test_a_progressive_code_at_its_rates_or_those_asked_for(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model("tiny-progressive"), PROGRESSIVE)
    assert [model.budget for model in find(str(run), tmp_path)] == list(RATES)
    small, large = find(f"{run}@40,90", tmp_path)
    assert (small.label, small.facts()["series"]) == (f"{run}, 40 bytes", str(run))
    faces = portraits(2)
    coded = [model.code(faces) for model in (small, large)]
    assert [[size for _, size in row] for row in coded] == [[40, 40], [90, 90]]
    few, many = (m.tokens([c.data for c in row]) for m, row in zip((small, large), coded, strict=True))
    for little, much in zip(few, many, strict=True):
        assert len(little) < len(much)
        np.testing.assert_array_equal(little, much[: len(little)])
    assert {picture.shape for picture in large.show([c.data for c in coded[1]])} == {(64, 64, 3)}


def test_a_progressive_code_whose_tokens_are_searched_for(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model("tiny-progressive"), PROGRESSIVE)
    (fast,), (best,) = find(f"{run}@48", tmp_path), find(f"{run}@48:best", tmp_path)
    assert (best.label, best.facts()["series"]) == (f"{run}, best, 48 bytes", f"{run}, best")
    face = portraits(1)
    (one,), (other,) = fast.code(face), best.code(face)
    assert one.size == other.size == 48
    assert one.data != other.data
    assert len(find(f"{run}:best", tmp_path)) == len(RATES)


def test_rates_that_a_model_has_not(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", *models()["grid"])
    with pytest.raises(ValueError, match="has one rate"):
        find(f"{run}@96", tmp_path)
    with pytest.raises(ValueError, match="the rates are whole numbers of bytes"):
        find(f"{run}@96,4", tmp_path)
    with pytest.raises(ValueError, match=r":best: .* has one rate"):
        find(f"{run}:best", tmp_path)


def test_a_progressive_code_has_no_prior_before_its_end(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model("tiny-progressive"), PROGRESSIVE, finished=False)
    with pytest.raises(ValueError, match="stands at step 12, and a progressive code has a prior only at its end"):
        find(str(run), tmp_path)


def test_a_damaged_payload_is_an_error(tmp_path: Path) -> None:
    (trained,) = find(str(make_run(tmp_path / "run", *models()["grid"])), tmp_path)
    payload = bytearray(trained.code(portraits(1))[0].data)
    payload[9] ^= 1
    with pytest.raises(DamagedPayload):
        trained.show([bytes(payload)])


def test_weights_are_those_that_would_be_published(tmp_path: Path) -> None:
    model, config = models()["tiny-vqvae"]
    trained = from_run(read_run(make_run(tmp_path / "run", model, config)))
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name].half().float())
    other = from_run(read_run(make_run(tmp_path / "other", tiny_model("tiny-vqvae", seed=1), config)))
    again = from_run(read_run(make_run(tmp_path / "again", model, config)))
    assert trained.digest == again.digest != other.digest


def test_versions_by_name_and_number(tiny_store: Path) -> None:
    assert find("tiny-vae", tiny_store)[0].label == "tiny-vae/2"
    (first,) = find("tiny-vae/1", tiny_store)
    assert (first.name, first.version) == ("tiny-vae", 1)
    assert unwrap(first.code(portraits(1))[0].data).tag == first.tag != NO_TAG


def test_what_is_nowhere_says_what_there_is(tiny_store: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"tiny-vae/3 is neither a run folder nor in the store .* tiny-vae/1, tiny-vae/2"
    ):
        find("tiny-vae/3", tiny_store)
    with pytest.raises(ValueError, match="which holds nothing"):
        find("x", tmp_path)
    (tmp_path / "a" / "1").mkdir(parents=True)
    with pytest.raises(RefusedVersion):
        find("a", tmp_path)


def test_folders_that_are_no_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no run folder: it has no recipe\.json"):
        read_run(tmp_path)
    run = make_run(tmp_path / "run", *models()["grid"])
    whole = (run / "checkpoint.pt").read_bytes()
    (run / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
        read_run(run)
    (run / "checkpoint.pt").unlink()
    with pytest.raises(ValueError, match=r"it has no checkpoint\.pt; 'python -m training run' makes one"):
        read_run(run)
    mixed = make_run(tmp_path / "mixed", models()["tiny-vae"][0], GRID)
    with pytest.raises(ValueError, match="holds no run that this version of the code reads"):
        read_run(mixed)


def test_a_vae_has_no_tokens_before_its_end(tmp_path: Path) -> None:
    config = CONFIGS["tiny-vae"]
    run = make_run(tmp_path / "run", build(config), config, finished=False)
    with pytest.raises(ValueError, match="stands at step 12, and a VAE has tokens only at its end"):
        find(str(run), tmp_path)
