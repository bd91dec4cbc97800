"""A model store with three small models of random weights, for tests that need a store but no face."""

from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save_file

from app.codec import OVERHEAD
from app.codec.fixed import body_bits, body_bytes
from app.nn import Model, build
from app.nn.vae import VAE
from app.store.manifest import Draft, Tokens, Training
from app.store.publish import next_version, publish
from app.store.reader import StoredVersion

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


def tiny_model(name: str, seed: int = 0) -> Model:
    """A model that depends on its input everywhere, so that no two pictures give the same tokens."""
    torch.manual_seed(seed)
    model = build(CONFIGS[name]).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    noise = torch.rand(512, 3, model.config.size, model.config.size) * 2 - 1
    with torch.no_grad():
        latents = model.encoder(noise)
        if isinstance(model, VAE):
            model.quantiser.calibrate(latents, torch.full((latents.shape[1],), 0.1), model.config.bits)
        else:  # any latents are codes
            codes = model.quantiser.by_codebook(latents)[:, : model.config.codes]
            model.quantiser.codebook_TKD.copy_(codes)
    return model


def publish_tiny(root: Path, name: str, seed: int = 0) -> StoredVersion:
    """The next version of a tiny model."""
    root.mkdir(exist_ok=True)
    model = tiny_model(name, seed)
    levels = model.levels
    now = datetime.now(UTC)
    draft = Draft(
        name=name, version=next_version(root, name), created=now, description="random weights for tests",
        model=CONFIGS[name], portrait=model.config.size,
        tokens=Tokens(
            shape=levels.shape, codebook_size=None if name == "tiny-vae" else 16, bits=body_bits(levels)
        ),
        rates=(OVERHEAD + body_bytes(levels),),
        training=Training(
            recipe={}, commit="none", seed=seed, data=(), steps=0, images_seen=0, seconds=0, machine="test",
            torch=torch.__version__, started=now, finished=now,
        ),
        quality={}, licence="none",
    )  # fmt: skip
    return publish(
        root, draft, weights=lambda path: save_file(model.state_dict(), path), dtype="float32", card="# Test\n",
        check=lambda stored: None,
    )  # fmt: skip
