"""``python -m training report``: the two experiments that Cameo grew from, told by finished runs.

A page of Markdown and its plots. Every number on it is computed from the runs and from their evaluation, but for what
was measured of checkpoints published earlier (:data:`training.experiments.chapters.EARLIER`).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cameo.faces.framing import Framer
from cameo.pictures.decode import decode
from cameo.pictures.quality import SIDE
from training.data.portraits import open_portraits
from training.evaluation.charts import FACES, Strip, faces_sheet, rates
from training.evaluation.contenders import Pixels
from training.experiments.chapters import ablation, absent, answer, comparison_table, equal, how, losses, named, theirs
from training.experiments.stories import Story, collect, read_evaluation
from training.files import replace
from training.plots import draw, grid, png

TABLE = ("compare-vae-64-20", "compare-vae-64-50", "compare-vqvae-64-20", "compare-vqvae-128-50")
ABLATION = ("ablate-all", "ablate-no-ema", "ablate-no-annealing", "ablate-no-revival", "ablate-none")
EQUAL = ("compare-vae-64-equal", "compare-vqvae-64-20")
MAX_PIXELS = 100_000_000
FROM_THE_TOP = (
    "From the top: the originals, and what each run makes of them, by way of a payload. Bytes and identity are the "
    "evaluation's means."
)


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "report",
        help="write the report on the two experiments that Cameo grew from",
        description="Write docs/report.md and its plots from finished runs and their evaluation. A run that is missing "
        "is named on the page, with the command that makes it.",
        epilog="Example: python -m training report --evaluation evaluation/evaluation.json --picture photo.jpg "
        "--credit 'The photo is in the public domain.' Before it: python -m training evaluate runs/* ...",
    )
    c.add_argument("--evaluation", type=Path, required=True, help="evaluation.json of these runs")
    c.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders; default: runs")
    c.add_argument("--out", type=Path, default=Path("docs/report.md"), help="page to write; default: docs/report.md")
    for option, default, what in (
        ("--table", TABLE, "the VAE comparison"),
        ("--ablation", ABLATION, "the LFW experiment: its ablation; the first run has everything"),
        ("--equal", EQUAL, "two models at equal bytes"),
    ):
        c.add_argument(
            option, nargs="+", default=list(default), metavar="RUN", help=f"{what}; default: {' '.join(default)}"
        )
    c.add_argument("--picture", type=Path, help="photo of a face that may be published, for the sheet of faces")
    c.add_argument(
        "--faces-from", type=Path, metavar="DATA",
        help="prepared data set that may be published; its split test goes on the sheet of faces",
    )  # fmt: skip
    c.add_argument("--credit", default="", help="sentence below the faces: whose they are")
    c.set_defaults(act=_report)


def _report(options: argparse.Namespace) -> int:
    evaluation = read_evaluation(options.evaluation)
    chosen = [*options.table, *options.ablation, *options.equal]
    stories = collect(chosen, options.runs, evaluation)
    if not stories.found:
        raise ValueError(f"no finished and evaluated run below {options.runs} is one of {', '.join(chosen)}")
    folder = options.out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)

    def picture(name: str, alt: str, data: bytes) -> str:
        replace(folder / name, data)
        return f"![{alt}]({folder.name}/{name})"

    table, techniques, pair = (stories.of(names) for names in (options.table, options.ablation, options.equal))
    main = list({story.name: story for story in [*table, *pair]}.values())
    page = ["# Can neural networks compress faces without losing identity?"]
    if main:
        rivals = [row for row in evaluation["rows"] if row["kind"] != "model"]
        chart = png(rates([*map(named, main), *rivals]))
        page += [*answer(evaluation, main), picture("rates.png", "Bytes against quality", chart)]
    page += ["## The VAE comparison: VAE and VQ-VAE"]
    if table:
        page += comparison_table(table)
    page += absent(stories, options.table)
    if compared := theirs(evaluation, table):
        page += ["### Ours against theirs", *compared]
    for title, term, members in (
        ("VAE", "kl", [s for s in table if s.kind == "vae"]),
        ("VQ-VAE", "commitment", [s for s in table if s.kind != "vae"]),
    ):
        if members:
            drawn = picture(f"{title.lower()}-loss.png", f"Loss curves, {title}", png(loss_curves(members, term)))
            page += [f"### Loss curves: {title}", drawn, *losses(members, term)]
    if faces := portraits(options.picture, options.faces_from):
        page += [
            "## Faces",
            picture("faces.png", "Originals and what comes back, a line a run", faces_sheet(strips(faces, main))),
            f"{FROM_THE_TOP} {options.credit}".rstrip(),
        ]
    page += ["## The LFW experiment: what keeps a codebook alive"]
    if techniques:
        page += [
            *ablation(techniques),
            picture("perplexity.png", "Perplexity over steps", png(perplexity_curves(techniques))),
        ]
    page += absent(stories, options.ablation)
    page += ["## VAE against VQ-VAE at equal bytes", *(equal(pair) if pair else []), *absent(stories, options.equal)]
    page += ["## How this was made", *how(evaluation, list(stories.found.values()))]
    replace(options.out, ("\n\n".join(page) + "\n").encode())
    print(f"{options.out}: {len(stories.found)} runs")
    for name, reason in stories.missing.items():
        print(f"missing: {name}: {reason}")
    return 0


def loss_curves(stories: Sequence[Story], term: str) -> Figure:
    """Total, reconstruction and the other term of the loss, a line a run."""
    figure, axes = grid(1, 3)
    for ax, (title, values) in zip(
        axes,
        (
            ("total", [s.log["total"] for s in stories]),
            ("reconstruction", [s.reconstruction for s in stories]),
            ("KL" if term == "kl" else term, [s.log[term] for s in stories]),
        ),
        strict=True,
    ):
        draw(ax, {s.name: (s.log["step"], line) for s, line in zip(stories, values, strict=True)}, title, log=True)
    return figure


def perplexity_curves(stories: Sequence[Story]) -> Figure:
    figure, (ax,) = grid(1, 1, width=8, height=4)
    codes = max(int(s.run.recipe["model"]["codes"]) for s in stories)
    lines = {s.name: (s.log["step"], s.log["perplexity"]) for s in stories}
    draw(ax, lines, f"perplexity of the codebook, of {codes:,}", top=codes)
    return figure


def portraits(photo: Path | None, data: Path | None) -> list[Pixels]:
    """Portraits of 128 pixels that may be shown."""
    found = []
    if photo:
        found.append(Framer().auto(decode(photo.read_bytes(), MAX_PIXELS), SIDE).portrait)
    if data:
        more = open_portraits([data], "test")
        indices = np.linspace(0, len(more) - 1, min(FACES - len(found), len(more))).round().astype(np.int64)
        found += list(more.centres(SIDE, indices).permute(0, 2, 3, 1).contiguous().numpy())
    return found


def strips(faces: list[Pixels], stories: Sequence[Story]) -> list[Strip]:
    """The originals, then what each run makes of them by way of payloads."""
    lines = [Strip({"label": "original"}, faces)]
    for story in stories:
        model = story.trained()
        payloads = [coded.data for coded in model.code(faces)]
        lines.append(Strip(story.row | {"label": story.name}, model.show(payloads)))
    return lines
