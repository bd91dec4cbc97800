"""A model store with small models of random weights, for tests that need a store but no face."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save_file

from cameo.coder import answer
from cameo.faces.judge import IdentityJudge, installed_judge
from cameo.faces.verification import FILE, FMRS, AtRate, Calibration, Threshold
from cameo.nn import Model, build
from cameo.nn.progressive import Progressive
from cameo.nn.vae import VAE
from cameo.nn.vqvae import Quantised
from cameo.store.manifest import Draft, Tokens, Training
from cameo.store.publish import next_version, publish
from cameo.store.reader import StoredVersion

CONFIGS = {
    "tiny-vae": {
        "kind": "vae", "size": 64, "patch": 16, "bands": 8, "latents": [20, 4], "bits": 96, "width": 8, "depth": 1,
        "refine": 4,
    },
    "tiny-vqvae": {
        "kind": "vqvae", "size": 128, "patch": 16, "bands": 8, "latents": [48, 16], "tokens": 32, "codes": 16,
        "code_dim": 2, "width": 8, "depth": 1, "refine": 4,
    },
    "tiny-grid": {"kind": "vqvae-grid", "size": 64, "width": 8, "depth": 1, "codes": 16, "code_dim": 2},
}  # fmt: skip

# By itself: its forward() and the number of its tokens are of another kind.
PROGRESSIVE = {
    "kind": "progressive", "size": 64, "patch": 16, "bands": 16, "latents": [200, 120], "planes": 8, "tokens": 2400,
    "context": 8, "width": 8, "depth": 1, "refine": 4, "features": 2,
}  # fmt: skip
PROGRESSIVE_RATES, PROGRESSIVE_DEFAULT = (32, 48, 96, 192, 320), 96


def tiny_model(name: str, seed: int = 0) -> Model:
    """A model that depends on its input everywhere, so that no two pictures give the same tokens."""
    torch.manual_seed(seed)
    model = build(PROGRESSIVE if name == "tiny-progressive" else CONFIGS[name]).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    noise = torch.rand(512, 3, model.config.size, model.config.size) * 2 - 1
    with torch.no_grad():
        if isinstance(model, Progressive):
            _order_planes(model, noise)
            return model
        latents = model.encoder(noise)
        if isinstance(model, VAE):
            model.quantiser.calibrate(latents, torch.full((latents.shape[1],), 0.1), model.config.bits)
        else:  # any latents are codes
            assert isinstance(model, Quantised)
            codes = model.quantiser.by_codebook(latents)[:, : model.config.codes]
            model.quantiser.codebook_TKD.copy_(codes)
    return model


def _order_planes(model: Progressive, noise: torch.Tensor) -> None:
    """Latents that fill their planes, every other of which begins with the second one; and any prior."""
    latents, planes = sum(model.config.latents), model.config.planes
    plane_T, latent_T = torch.tensor(
        [(plane, latent) for plane in range(planes) for latent in range(latents) if plane >= latent % 2]
    ).T
    model.planes.order(latent_T, plane_T)
    spread = model.encoder(noise).std(0).split(list(model.config.latents))
    for layer, std in zip(model.encoder.to_latents, spread, strict=True):
        assert isinstance(layer, torch.nn.Linear)
        layer.weight.mul_(40 / std[:, None])
        layer.bias.mul_(40 / std)
    for array, most in ((model.embed_T3H, 40), (model.output_T3H, 3), (model.bias_T3, 2000)):
        array.random_(-most, most + 1)


def publish_tiny(
    root: Path, name: str, seed: int = 0, spoil: Callable[[Model], object] = lambda _: None
) -> StoredVersion:
    """The next version of a tiny model, whose weights are spoilt after its answer was recorded."""
    root.mkdir(exist_ok=True)
    model = tiny_model(name, seed)
    coding = model.coding()
    several, size = coding.several_rates, coding.payload_bytes
    now = datetime.now(UTC)
    draft = Draft(
        name=name, version=next_version(root, name), created=now, description="random weights for tests",
        model=PROGRESSIVE if several else CONFIGS[name], portrait=model.config.size,
        tokens=Tokens(
            shape=coding.levels.shape, codebook_size={"tiny-vae": None, "tiny-progressive": 3}.get(name, 16),
            bits=coding.bits,
        ),
        rates=(size,) if size else PROGRESSIVE_RATES,
        default_rate=PROGRESSIVE_DEFAULT if several else None,
        known_answer=answer.record(model, PROGRESSIVE_DEFAULT if several else None),
        training=Training(
            recipe={}, commit="none", seed=seed, data=(), steps=0, images_seen=0, seconds=0, machine="test",
            torch=torch.__version__, started=now, finished=now,
        ),
        quality={}, licence="none",
    )  # fmt: skip
    spoil(model)
    return publish(
        root, draft, weights=lambda path: save_file(model.state_dict(), path), dtype="float32", card="# Test\n",
        check=lambda stored: None,
    )  # fmt: skip


def made_up_calibration(stored: StoredVersion, thresholds: dict[int, tuple[float, float, float]]) -> Calibration:
    """By bytes, thresholds for the installed recogniser that nobody measured."""
    weights = installed_judge()
    assert weights is not None
    return Calibration(
        manifest=stored.digest, recogniser=IdentityJudge(weights).version, created=datetime.now(UTC), data=(),
        rates=tuple(
            AtRate(
                bytes=size, efforts=("fast",), comparisons=30_000,
                thresholds=tuple(
                    Threshold(fmr=fmr, threshold=threshold, low=threshold, high=threshold)
                    for fmr, threshold in zip(FMRS, cosines, strict=True)
                ),
            )
            for size, cosines in thresholds.items()
        ),
    )  # fmt: skip


def calibrate(stored: StoredVersion, thresholds: dict[int, tuple[float, float, float]]) -> None:
    (stored.folder / FILE).write_bytes(made_up_calibration(stored, thresholds).to_json())
