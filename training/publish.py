"""From a finished run to a version in the store."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from app import codec
from app.codec.fixed import body_bits, body_bytes
from app.nn import Model, build
from app.quality import SIDE, IdentityJudge, enlarge, installed_judge, ms_ssim, psnr
from app.store.manifest import Draft, Tokens, Training
from app.store.publish import next_version, publish
from app.store.reader import StoredVersion
from training.data import Portraits
from training.recipe import Recipe

BATCH = 50
NEWLINE = "\n"


def publish_run(
    run: Path, store: Path, validation: Portraits, licence: str, data_licences: dict[str, str]
) -> StoredVersion:
    """Measure a run's averaged weights on validation portraits and publish them as the next version.

    Weights are stored in half precision, and measured as stored. ValueError for a run that is not finished.
    """
    claim = json.loads((run / "recipe.json").read_text())
    recipe = Recipe.model_validate(claim["recipe"])
    saved = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    state = saved["state"]
    if "finished" not in state:
        raise ValueError(f"{run} stands at step {state['step']} of {recipe.optimise.steps}: let it finish first")
    names = build(recipe.model).state_dict().keys()
    weights = {name: _half(saved["average"][name]) for name in names}
    model = load(recipe.model, weights)
    quality = measure(model, validation)
    quality["data"] = _licensed(validation.sources, data_licences)
    draft = Draft(
        name=recipe.name,
        version=next_version(store, recipe.name),
        created=datetime.now(UTC),
        description=recipe.description,
        model=recipe.model,
        portrait=recipe.model["size"],
        tokens=Tokens(
            shape=model.levels.shape, codebook_size=recipe.model.get("codes"), bits=body_bits(model.levels)
        ),
        rates=(codec.OVERHEAD + body_bytes(model.levels),),
        training=Training(
            recipe=recipe.model_dump(), commit=claim["commit"],
            seed=recipe.seed, data=_licensed(state["data"], data_licences), steps=state["step"],
            images_seen=state["step"] * recipe.optimise.batch, seconds=round(state["seconds"]),
            machine=state["machine"], torch=str(torch.__version__),
            started=state["started"], finished=state["finished"],
        ),
        quality=quality,
        licence=licence,
    )  # fmt: skip

    def check(stored: StoredVersion) -> None:
        reloaded = load(recipe.model, load_file(stored.weights))
        pixels = validation.centres(stored.manifest.portrait, slice(0, 4))
        tokens = reloaded.encode(pixels)
        for row in tokens.numpy():
            payload = codec.encode(row, reloaded.levels, stored.tag)
            back = codec.decode_body(codec.unwrap(payload), reloaded.levels)
            if not np.array_equal(back, row):
                raise ValueError("a payload did not give its tokens back")
        if not torch.equal(reloaded.decode(tokens), model.decode(model.encode(pixels))):
            raise ValueError("the model reads differently from the store than from the run")

    return publish(
        store, draft, weights=lambda path: save_file(weights, path), dtype="float16", card=card(draft), check=check
    )


def load(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> Model:
    """A model in evaluation mode with the given weights, in float32."""
    model = build(config)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def _licensed(sources: list[dict[str, Any]], licences: dict[str, str]) -> list[dict[str, Any]]:
    """Data sets with the terms that the publisher knows, by the name of the folder."""
    return [source | {"licence": licences.get(source["name"], source["licence"])} for source in sources]


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.half() if tensor.is_floating_point() else tensor).contiguous()


def measure(model: Model, validation: Portraits) -> dict[str, Any]:
    """PSNR, MS-SSIM, identity and codebook usage, through tokens, at the model's own portrait size.

    Identity and MS-SSIM are of 128-pixel pictures; a smaller reconstruction is scaled up first.
    """
    judge = IdentityJudge(path) if (path := installed_judge()) else None
    size = model.config.size
    figures: dict[str, list[float]] = {"psnr": [], "ms_ssim": [], "identity": []}
    used: list[np.ndarray[Any, Any]] = []
    for start in range(0, len(validation), BATCH):
        part = slice(start, start + BATCH)
        tokens = model.encode(validation.centres(size, part))
        used.append(tokens.numpy())
        pictures = model.decode(tokens).permute(0, 2, 3, 1).contiguous().numpy()
        originals = validation.centres(SIDE, part).permute(0, 2, 3, 1).contiguous().numpy()
        for original, picture in zip(originals, pictures, strict=True):
            shown = enlarge(picture)
            figures["psnr"].append(psnr(original, shown))
            figures["ms_ssim"].append(ms_ssim(original, shown))
            if judge:
                figures["identity"].append(judge.similarity(original, shown))
    quality: dict[str, Any] = {
        "protocol": f"{len(validation)} portraits of people not trained on, through tokens, compared at {SIDE} pixels",
        "bytes": codec.OVERHEAD + body_bytes(model.levels),
    }
    for name, values in figures.items():
        if values:
            quality[name] = {"mean": round(float(np.mean(values)), 4), "sd": round(float(np.std(values)), 4)}
    if (codes := getattr(model.config, "codes", None)) is not None:
        quality["perplexity"] = perplexity(np.concatenate(used), codes)
    return quality


def perplexity(idx_MT: np.ndarray[Any, Any], codes: int) -> dict[str, float]:
    """Exponential of the entropy of code usage: of each codebook on its own, averaged, as a share of its codes.

    M portraits show at most M codes of a codebook, so the figure is low by about (codes - 1) / 2M of a nat;
    ``corrected`` adds that back (Miller 1955).
    """
    counts = np.stack([np.bincount(column, minlength=codes) for column in idx_MT.T])
    share = counts / counts.sum(1, keepdims=True)
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(1)
    bias = ((counts > 0).sum(1) - 1) / (2 * len(idx_MT))
    return {
        "mean": round(float(np.exp(entropy).mean()), 2),
        "share": round(float(np.exp(entropy).mean() / codes), 4),
        "share_corrected": round(float(np.minimum(np.exp(entropy + bias), codes).mean() / codes), 4),
        "codes_used": round(float((counts > 0).mean()), 4),
    }


def card(draft: Draft) -> str:
    """The page for people: what the model is, what it learnt from and on whose terms, how good it is."""
    quality, training = draft.quality, draft.training
    trained_on = [f"- {d.name}: {d.pictures:,} pictures; licence: {d.licence}" for d in training.data]
    measured = [
        f"- {name}: {figure['mean']} (standard deviation {figure['sd']})"
        for name in ("psnr", "ms_ssim", "identity")
        if isinstance(figure := quality.get(name), dict)
    ]
    if isinstance(usage := quality.get("perplexity"), dict):
        measured.append(f"- perplexity of a codebook: {usage['mean']}, {usage['share']:.0%} of its codes")
    return f"""# {draft.name}, version {draft.version}

{draft.description}.

- Portrait: {draft.portrait} x {draft.portrait} pixels
- Payload: {draft.rates[0]:,} bytes, everything counted
- Tokens: {" x ".join(map(str, draft.tokens.shape))}, {draft.tokens.bits:,} bits

## Trained on

{NEWLINE.join(trained_on)}

{training.steps:,} steps, {training.images_seen:,} pictures seen, {training.seconds / 60:.0f} minutes on
{training.machine}; commit {training.commit}, seed {training.seed}.

## Terms

{draft.licence}

## Measured

{quality["protocol"]}.

{NEWLINE.join(measured)}

## Not for

Deciding on its own who somebody is. The faces that it learnt from are mostly adult, frontal and well lit; expect
worse on children, profiles and poor light.
"""
