"""The chapters of the report, as Markdown. What is said depends on what was measured."""

from collections.abc import Callable, Sequence
from functools import partial

from training.evaluation.bootstrap import Figure
from training.evaluation.tables import NO_RATE, PAIRS, PICTURE, Column, Row, bytes_of, figure_of, table
from training.experiments.stories import Stories, Story

RECOGNISERS = {"sface": "SFace", "dlib": "dlib's network, which took no part in training"}
VERIFICATION = {"identity": "identity", "accuracy": "accuracy", "true_accepts": "true accepts at 1% false"}
TECHNIQUES = {  # of the quantiser, by the recipe's key
    "update": "moving averages",
    "anneal": "annealing of the commitment cost",
    "revive": "revival of dead codes",
}
# Checkpoints that the VAE comparison had published earlier, measured with SFace on pairs of held-out people of LFW,
# which are not the pairs of any evaluation here. Their bytes are those of the tokens alone.
EARLIER: tuple[Row, ...] = (
    {"label": "the earlier VQ-VAE, 64 px", "kind": "earlier", "bytes": 288, "accuracy": 0.955, "true_accepts": 0.939,
     "identity": 0.561},
    {"label": "the earlier VQ-VAE, 128 px", "kind": "earlier", "bytes": 1152, "accuracy": 0.990, "true_accepts": 0.995,
     "identity": 0.873},
)  # fmt: skip
EARLIER_UNCOMPRESSED = 0.993


def answer(evaluation: Row, stories: list[Story]) -> list[str]:
    """Do they keep identity? By each recogniser, compared with uncompressed portraits."""
    unchanged = uncompressed(evaluation)
    lines: list[str] = []
    columns: list[Column] = [("bytes", bytes_of)]
    for judge in evaluation["recognisers"]:
        clean = unchanged["verification"][judge]
        kept = [s for s in ordered(stories) if keeps(s.row["verification"][judge], clean)]
        best = kept[0] if kept else max(stories, key=lambda s: mean(s.row["verification"][judge]["accuracy"]))
        found = best.row["verification"][judge]
        verdict = f"yes, in {best.bytes:,.0f} bytes" if kept else "not in these runs"
        lines.append(
            f"- **By {RECOGNISERS.get(judge, judge)}: {verdict}.** With `{best.name}` face verification has an "
            f"accuracy of {told(found['accuracy'])} and accepts {told(found['true_accepts'])} of the true pairs at 1% "
            f"false ones; uncompressed, that is {told(clean['accuracy'])} and {told(clean['true_accepts'])}."
        )
        columns += [(f"{title}, {judge}", verified(judge, name)) for name, title in VERIFICATION.items()]
        columns.append((f"kept, {judge}", partial(_kept, judge, clean)))
    note = (
        "*Kept*: accuracy and true accepts are no lower than chance could make them on uncompressed portraits, by the "
        "95% interval. Identity is the mean cosine of original and reconstruction."
    )
    return ["\n".join(lines), table([unchanged, *map(named, ordered(stories))], columns), note]


def uncompressed(evaluation: Row) -> Row:
    """The limit for every codec."""
    rows: list[Row] = [row for row in evaluation["rows"] if row["kind"] == "uncompressed"]
    return rows[0] | {"bytes": rows[0]["verification"]["bytes"]}


def _kept(judge: str, clean: dict[str, Figure], row: Row) -> str:
    return "yes" if "story" not in row or keeps(row["verification"][judge], clean) else "no"


def keeps(found: dict[str, Figure], clean: dict[str, Figure]) -> bool:
    """Whether a recogniser does no worse than chance could make it do on uncompressed portraits."""
    return all(found[name]["mean"] >= clean[name]["low"] for name in ("accuracy", "true_accepts"))


def comparison_table(stories: list[Story]) -> list[str]:
    """The VAE comparison, with its first measure beside the true rate."""
    by_jpeg = span([s.raw / mean(s.row["jpeg85_bytes"]) for s in stories], ".1f")
    truly = span([s.raw / s.bytes for s in stories], ".0f")
    columns: list[Column] = [
        ("epochs", lambda row: f"{row['story'].epochs:.0f}"),
        ("portrait, bytes", lambda row: f"{row['story'].raw:,}"),
        ("reconstruction as JPEG, bytes", figure_of("jpeg85_bytes", ",.0f")),
        ("ratio by that file", lambda row: f"{row['story'].raw / mean(row['jpeg85_bytes']):.1f}"),
        ("payload, bytes", bytes_of),
        ("true ratio", lambda row: f"{row['story'].raw / row['story'].bytes:.0f}"),
        ("bits per pixel", lambda row: f"{24 * row['story'].bytes / row['story'].raw:.3f}"),
    ]
    rows = [named(s) for s in stories]
    text = f"{NO_RATE} By that measure these runs compress {by_jpeg} times, in truth {truly} times."
    return [text, table(rows, columns), table(rows, quality(stories))]


def theirs(evaluation: Row, stories: list[Story]) -> list[str]:
    """Our VQ-VAEs beside the checkpoints published earlier, each beside that of the nearest rate."""
    ours = [s for s in stories if s.kind != "vae"]
    if not ours:
        return []
    clean = mean(uncompressed(evaluation)["verification"]["sface"]["accuracy"])
    rows, lines = [], []
    for earlier in EARLIER:
        own = min(ours, key=lambda s: abs(s.bytes - earlier["bytes"]))
        found = {name: mean(own.row["verification"]["sface"][name]) for name in VERIFICATION}
        rows += [
            earlier | {"lost": EARLIER_UNCOMPRESSED - earlier["accuracy"]},
            {"label": own.name, "kind": "model", "bytes": own.bytes, "lost": clean - found["accuracy"]} | found,
        ]
        lines.append(
            f"- `{own.name}`, {own.bytes:,.0f} bytes: {100 * rows[-1]['lost']:.1f} points of accuracy are lost against "
            f"uncompressed portraits. The earlier checkpoint, {earlier['bytes']:,} bytes: {100 * rows[-2]['lost']:.1f}."
        )
    columns = {"identity": "identity", "accuracy": "accuracy", "lost": "lost", "true_accepts": "true accepts"}
    note = (
        "The earlier ones were measured on other pairs of held-out people, where uncompressed portraits have an "
        f"accuracy of {EARLIER_UNCOMPRESSED}; here they have {clean:.3f}. Their bytes are tokens alone, ours whole "
        "payloads."
    )
    return [
        "\n".join(lines),
        table(rows, [("bytes", lambda row: f"{row['bytes']:,.0f}"), *((t, plain(n)) for n, t in columns.items())]),
        note,
    ]


def losses(stories: list[Story], term: str) -> list[str]:
    """Where the curves of a kind of model end; ``term`` is what its loss has besides the reconstruction."""
    return [
        "\n".join(
            f"- `{s.name}` ended at {s.log['total'][-1]:.4g} after {s.run.state['step']:,} steps: reconstruction "
            f"{s.reconstruction[-1]:.4g}, {'KL' if term == 'kl' else term} {s.log[term][-1]:.4g}."
            for s in stories
        )
    ]


def ablation(stories: list[Story]) -> list[str]:
    """What each technique does to the use of the codes and to the pictures. The first run is compared with the rest."""
    whole, *rest = stories
    used = [name for name in TECHNIQUES if any(name in on(s) for s in stories)]
    columns: list[Column] = [
        *((TECHNIQUES[name], partial(_uses, name)) for name in used),
        ("perplexity", lambda row: f"{row['codebook']['mean']:.0f}"),
        ("of codes", lambda row: f"{row['story'].run.recipe['model']['codes']:,}"),
        ("codes used", lambda row: f"{row['codebook']['codes_used']:.0%}"),
        *quality(stories),
    ]
    lines = []
    for s in rest:
        off = [TECHNIQUES[name] for name in used if name in on(whole) - on(s)]
        before, after = mean(whole.row["codebook"]), mean(s.row["codebook"])
        worse = {name: mean(s.row[name]) - mean(whole.row[name]) for name in ("psnr", "identity")}
        lines.append(
            f"- Without {listed(off)}: perplexity {after:.0f} instead of {before:.0f}, PSNR {worse['psnr']:+.2f} dB, "
            f"identity {worse['identity']:+.3f}."
        )
    return [table([named(s) for s in stories], columns), *(["\n".join(lines)] if lines else [])]


def on(story: Story) -> set[str]:
    """The techniques that a run used."""
    q = story.run.recipe["quantiser"]
    return {name for name in TECHNIQUES if (q[name] == "ema" if name == "update" else q[name] > 0)}


def _uses(technique: str, row: Row) -> str:
    return "yes" if technique in on(row["story"]) else ""


def equal(stories: list[Story]) -> list[str]:
    """Models that take about the same bytes."""
    lines = []
    for name, title in {"identity": "identity", "psnr": "PSNR"}.items():
        if len(stories) < 2:
            continue
        *_, second, first = sorted(stories, key=lambda s: mean(s.row[name]))
        ahead = mean(first.row[name]) - mean(second.row[name])
        apart = "" if second.row[name]["high"] < first.row[name]["low"] else "; their intervals overlap"
        lines.append(
            f"- {title}: `{first.name}` ({first.bytes:,.0f} bytes) is ahead of `{second.name}` ({second.bytes:,.0f} "
            f"bytes) by {ahead:.3f}{apart}."
        )
    columns: list[Column] = [("bytes", bytes_of), *quality(stories)]
    return ["\n".join(lines), table([named(s) for s in stories], columns)]


def how(evaluation: Row, stories: list[Story]) -> list[str]:
    """What was trained on what, for how long, where; and how it was measured."""
    trained_on = {source["sha256"]: source for s in stories for source in s.run.state["data"]}
    columns: list[Column] = [
        ("steps", lambda row: f"{row['story'].run.state['step']:,}"),
        ("epochs", lambda row: f"{row['story'].epochs:.1f}"),
        ("minutes", lambda row: f"{row['story'].run.state['seconds'] / 60:.0f}"),
        ("images per second", lambda row: f"{row['story'].speed:.0f}"),
        ("seed", lambda row: f"{row['story'].run.recipe['seed']}"),
        ("on", lambda row: str(row["story"].run.state["machine"])),
        ("code", lambda row: revision(row["story"].run.commit)),
    ]
    same, different = evaluation["pairs"]["same"], evaluation["pairs"]["different"]
    verification = f"Face verification: {same} pairs of one person, {different} of two. {PAIRS}"
    return [
        f"Measured on {evaluation['protocol']}. {verification}",
        "\n".join(
            [f"- trained on {described(source)}" for source in trained_on.values()]
            + [f"- measured on {described(source)}" for source in evaluation["data"]]
        ),
        table([named(s) for s in stories], columns),
    ]


def revision(commit: str) -> str:
    """A commit in short; what was changed and not committed when the run began stays visible."""
    return f"`{commit[:12]}{'-dirty' * commit.endswith('-dirty')}`"


def described(source: Row) -> str:
    people = "" if source["people"] is None else f" of {source['people']:,} people"
    return f"{source['name']}: {source['pictures']:,} pictures{people}; {source['licence']}"


def absent(stories: Stories, names: list[str]) -> list[str]:
    """What is missing from a chapter, and how to get it."""
    lines = [f"- `{name}` is not here: {stories.missing[name]}" for name in names if name in stories.missing]
    return ["\n".join(lines)] if lines else []


def quality(stories: list[Story]) -> list[Column]:
    """A column for every figure that was measured of all the runs."""
    known = [name for name in PICTURE if all(name in s.row for s in stories)]
    return [*((PICTURE[name], figure_of(name)) for name in known), ("accuracy", verified("sface", "accuracy"))]


def verified(judge: str, name: str) -> Callable[[Row], str]:
    cell = figure_of(name)
    return lambda row: cell(row["verification"][judge])


def plain(name: str) -> Callable[[Row], str]:
    return lambda row: f"{row[name]:.3f}"


def named(story: Story) -> Row:
    """The row of an evaluation under the name of the recipe, with the run beside it."""
    return story.row | {"label": story.name, "story": story}


def ordered(stories: list[Story]) -> list[Story]:
    return sorted(stories, key=lambda s: s.bytes)


def mean(figure: Figure) -> float:
    return figure["mean"]


def told(figure: Figure) -> str:
    return f"{figure['mean']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def span(values: Sequence[float], form: str) -> str:
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"


def listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
