"""``python -m training publish``: from a finished run to a version in the store."""

import argparse
import logging
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from cameo.coder import answer
from cameo.errors import RefusedVersion, StoreError
from cameo.store import Store, open_store
from cameo.store.manifest import Draft, Tokens, Training
from cameo.store.publish import next_version, publish
from cameo.store.reader import StoredVersion
from training.evaluation.bootstrap import summary
from training.evaluation.evaluate import Row, Setting, add_judging
from training.evaluation.measure import Measured
from training.evaluation.trained import Run, Trained, at, at_default_rate, at_rates, from_run, from_store, read_run
from training.kinds import kind_of
from training.remote import place, run_folder

log = logging.getLogger("cameo.training")

NEWLINE = "\n"


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "publish",
        help="put the model of a finished run into the store as a new version",
        description="Measure the averaged weights of a finished run, as 'evaluate' does, and write the next version of "
        "its name. A version that is worse than the one it replaces, on the same portraits, is refused: one that keeps "
        "less of the identity (of PSNR, where no recogniser is installed) beyond chance, or that takes more bytes and "
        "keeps no more of it.",
        epilog="Example: python -m training publish runs/vqvae-64 --validation data/faces --licence 'research only' "
        "--lpips weights/lpips_alex.npz",
    )
    c.add_argument("run", type=place, help="run folder, or s3://...")
    c.add_argument(
        "--validation", type=place, nargs="+", required=True,
        help="prepared data sets, folders or s3://..., whose split val is measured on: people not trained on",
    )  # fmt: skip
    c.add_argument("--store", default="model_store", help="model store, a folder or s3://...; default: model_store")
    c.add_argument("--licence", required=True, help="the terms that the training data puts on the weights")
    add_judging(c)
    c.add_argument("--even-if-worse", action="store_true", help="publish whatever the comparison says")
    c.set_defaults(act=_publish)


def _publish(options: argparse.Namespace) -> int:
    with run_folder(options.run) as folder:
        run = finished(folder)
    setting = Setting.of(
        options.validation, "val", judge=options.judge, lpips=options.lpips, faces=options.faces, pairs=options.pairs
    )
    store = open_store(options.store)
    stored = publish_run(run, store, setting, options.licence, even_if_worse=options.even_if_worse)
    name, version = stored.key
    print(f"published {name}/{version} in {store}, tag {stored.tag.hex()}")
    print(card(stored.manifest))
    return 0


def finished(folder: Path) -> Run:
    """A run that has reached its last step; ValueError for another."""
    run = read_run(folder)
    if "finished" not in run.state:
        raise ValueError(f"{folder} stands at step {run.state['step']}: let it finish first")
    return run


def publish_run(
    run: Run, store: Store | Path | str, setting: Setting, licence: str, *, even_if_worse: bool = False
) -> StoredVersion:
    """Measure the weights of a finished run, as they will be stored, and publish them as the next version.

    In a store with the file FOREVER it is listed there. ValueError for a model that is worse than the version it would
    replace; StoreError when the store cannot be written. Either way the store stays as it was.
    """
    store = open_store(store)
    store.look()  # an hour of measuring is in vain where there is no store
    trained = from_run(run)
    with tempfile.TemporaryDirectory(prefix="cameo-") as folder:
        default = at_default_rate(trained)
        others = [other for other in at_rates(trained) if other.budget != default.budget]
        row, measured = setting.measure(default, Path(folder) / "new")
        previous = highest(store, trained.name)
        if previous and not even_if_worse:
            _, before = setting.measure(at_default_rate(previous), Path(folder) / "old")
            if reason := worse(measured, before, setting.faces.person_N):
                raise ValueError(
                    f"{run.folder} is worse than {previous.label}, which it would replace: {reason}, on the same "
                    f"{len(setting.faces)} portraits; --even-if-worse publishes it"
                )
        rows = sorted(
            [row, *(setting.measure(other, Path(folder) / "rates")[0] for other in others)], key=bytes_allowed
        )
    model, recipe, state = trained.model, run.recipe, run.state
    kind, coding = kind_of(model), trained.coding
    draft = Draft(
        name=trained.name,
        version=next_version(store, trained.name),
        created=datetime.now(UTC),
        description=recipe["description"],
        model=recipe["model"],
        portrait=model.config.size,
        tokens=Tokens(
            shape=coding.levels.shape, codebook_size=kind.alphabet(model), bits=coding.bits,
        ),
        rates=kind.rates(model),
        default_rate=kind.default_rate,
        known_answer=answer.record(model, kind.default_rate),
        training=Training(
            recipe=recipe | ({"from": run.start} if run.start else {}), commit=run.commit, seed=recipe["seed"],
            data=state["data"], steps=state["step"],
            images_seen=state["step"] * recipe["optimise"]["batch"], seconds=round(state["seconds"]),
            machine=state["machine"], torch=str(torch.__version__),
            started=state["started"], finished=state["finished"],
        ),
        quality=quality(row, setting) | ({"rates": [rate_facts(row) for row in rows]} if coding.several_rates else {}),
        licence=licence,
    )  # fmt: skip
    try:
        return publish(
            store, draft, weights=save(run.weights), dtype="float16", card=card(draft),
            check=lambda stored: round_trip(stored, default, setting),
        )  # fmt: skip
    except OSError as error:
        raise StoreError(
            f"Version {draft.version} of {draft.name} cannot be written into {store}: {error.strerror or error}. "
            "The store is as it was.",
            root=str(store),
        ) from error


def highest(store: Store, name: str) -> Trained | None:
    """The highest version of a name that can be used; the log names those above it that cannot."""
    for key in reversed([key for key in store.look()[0] if key[0] == name]):
        try:
            return at(store, key)
        except (RefusedVersion, ValueError) as error:
            log.warning("not compared with %s/%s: %s", *key, error)
    return None


def worse(new: Measured, old: Measured, person_N: NDArray[np.int64]) -> str | None:
    """Why a model should not take the place of another, measured on the same portraits; None when it may.

    It may not be worse beyond chance, nor take more bytes and not be better beyond chance. Pairing the portraits
    takes away what they differ in.
    """
    name, title = ("identity", "identity (SFace)") if "identity" in new.value_N else ("psnr", "PSNR")
    change = summary(new.value_N[name] - old.value_N[name], person_N)
    means = [float(measured.value_N[name].mean()) for measured in (old, new)]
    said = (
        f"{title} {means[1]:.4f} instead of {means[0]:.4f} "
        f"(change {change['mean']:+.4f}, 95% interval {change['low']:+.4f} to {change['high']:+.4f})"
    )
    if change["high"] < 0:
        return said
    sizes = [float(measured.value_N["bytes"].mean()) for measured in (old, new)]
    if sizes[1] > sizes[0] and change["low"] <= 0:
        return f"{sizes[1]:,.1f} bytes instead of {sizes[0]:,.1f}, and no better for it: {said}"
    return None


def quality(row: Row, setting: Setting) -> dict[str, Any]:
    """What a manifest says of a measurement: the figures of an evaluation's row."""
    return {
        "protocol": setting.protocol,
        **rate_facts(row),
        **({"pairs": setting.pairs.facts()} if setting.pairs else {}),
        "data": setting.portraits.sources,
    }


def rate_facts(row: Row) -> dict[str, Any]:
    """The figures of a row, without what the manifest says elsewhere."""
    who = {"label", "kind", "name", "version", "sha256", "portrait", "series"}
    return {name: figure for name, figure in row.items() if name not in who}


def bytes_allowed(row: Row) -> float:
    return float(row["bytes"]["mean"])


def round_trip(stored: StoredVersion, trained: Trained, setting: Setting) -> None:
    """The last test before a version becomes visible: what the store gives back draws what was measured.

    The same payloads, and within a level of 255: threads may add up in another order from one call to the next.
    """
    published = replace(from_store(stored, trained.device), budget=trained.budget, tag=trained.tag)
    pairs = zip(published.model.state_dict().items(), trained.model.state_dict().items(), strict=True)
    same = published.model.config == trained.model.config and all(a == b and x.equal(y) for (a, x), (b, y) in pairs)
    portraits = setting.faces.read(np.arange(min(4, len(setting.faces))))
    payloads = [coded.data for coded in trained.code(portraits)]
    drawn, measured = published.show(payloads), trained.show(payloads)
    off = [int(np.abs(a.astype(int) - b).max()) for a, b in zip(drawn, measured, strict=True)]
    if not same or max(off) > 1:
        raise ValueError("the model reads differently from the store than from the run")


def card(draft: Draft) -> str:
    """The page for people: what the model is, what it learnt from and on whose terms, how good it is."""
    quality, training = draft.quality, draft.training
    trained_on = [
        f"- {d.name}: {d.pictures:,} pictures{f' of {d.people:,} people' if d.people else ''}; licence: {d.licence}"
        for d in training.data
    ]
    return f"""# {draft.name}, version {draft.version}

{draft.description}.

- Portrait: {draft.portrait} x {draft.portrait} pixels
- Payload: {payload_size(draft)}, everything counted
- Tokens: {" x ".join(map(str, draft.tokens.shape))}, {draft.tokens.bits:,} bits

## Trained on

{NEWLINE.join(trained_on)}

{training.steps:,} steps, {training.images_seen:,} pictures seen, {training.seconds / 60:.0f} minutes on
{training.machine}; commit {training.commit}, seed {training.seed}.

## Terms

{draft.licence}

## Measured

{quality["protocol"]}.

{NEWLINE.join(measured_lines(quality))}
{NEWLINE.join(["", *rate_lines(quality), ""]) if "rates" in quality else ""}
## Not for

Deciding on its own who somebody is. The faces that it learnt from are mostly adult, frontal and well lit; expect
worse on children, profiles and poor light.
"""


def payload_size(draft: Draft) -> str:
    if draft.default_rate is None:
        return f"{draft.rates[0]:,} bytes"
    return f"any number of bytes from {draft.rates[0]} to {draft.rates[-1]}, by default {draft.default_rate}"


def rate_lines(quality: dict[str, Any]) -> list[str]:
    """A table of what was measured at each of several rates."""
    columns = {"tokens": "tokens", "psnr": "PSNR, dB", "ms_ssim": "MS-SSIM", "lpips": "LPIPS", "identity": "identity"}
    present = {name: title for name, title in columns.items() if name in quality}
    judges = [name for name in quality.get("verification", {}) if name != "bytes"]
    titles = [*present.values(), *(f"{what}, {name}" for name in judges for what in ("accuracy", "true accepts"))]
    lines = ["| bytes | " + " | ".join(titles) + " |", "|---:|" + "---:|" * len(titles)]
    for row in quality["rates"]:
        verified = [row["verification"][name][what]["mean"] for name in judges for what in ("accuracy", "true_accepts")]
        figures = [*(row[name]["mean"] for name in present), *verified]
        lines.append(f"| {row['bytes']['mean']:.0f} | " + " | ".join(f"{figure:.4g}" for figure in figures) + " |")
    return lines


def measured_lines(quality: dict[str, Any]) -> list[str]:
    titles = {"psnr": "PSNR, dB", "ms_ssim": "MS-SSIM", "lpips": "LPIPS", "identity": "identity, SFace cosine"}
    lines = [f"- {title}: {ranged(quality[name])}" for name, title in titles.items() if name in quality]
    if use := quality.get("codebook"):
        lines.append(f"- perplexity of a codebook: {use['mean']}, {use['share']:.0%} of its codes")
    for name, figures in quality.get("verification", {}).items():
        if name != "bytes":
            lines.append(f"- verification by {name}, accuracy: {ranged(figures['accuracy'])}")
            lines.append(f"- verification by {name}, true accepts at 1% false: {ranged(figures['true_accepts'])}")
    return lines


def ranged(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.4g} ({figure['low']:.4g} to {figure['high']:.4g})"
