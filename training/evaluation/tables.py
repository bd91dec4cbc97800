"""An evaluation as tables that a page can hold."""

from collections.abc import Callable
from typing import Any

from training.evaluation.bootstrap import Figure

Row = dict[str, Any]
Column = tuple[str, Callable[[Row], str]]

PICTURE = {
    "psnr": "PSNR, dB", "ms_ssim": "MS-SSIM", "lpips": "LPIPS", "identity": "identity",
    "identity_dlib": "identity, dlib",
}  # fmt: skip
BYTES = (
    "Ranges are those intervals. Bytes are whole payloads and whole files, but for codecs without container, and for "
    "eigenfaces, whose entropy coder is an ideal one."
)
PAIRS = (
    "The first picture of each went through the codec, the second is as it was. FNMR at an FMR of 1%, 0.1% and 0.01%: "
    "every first picture against every picture of somebody else."
)
FNMR = {"fnmr_1": "FNMR at 1%", "fnmr_01": "at 0.1%", "fnmr_001": "at 0.01%"}
NO_RATE = (
    "The VAE comparison first took the size of the reconstruction, saved as a JPEG of quality 85, for the rate of a "
    "model. That file is made of what the decoder draws, and nobody stores it."
)


def markdown(evaluation: dict[str, Any]) -> str:
    """Everything that was measured, in up to four tables; models are bold."""
    rows, pairs = evaluation["rows"], evaluation["pairs"]
    measured = [row for row in rows if "psnr" in row]
    known = [name for name in PICTURE if any(name in row for row in measured)]
    parts = [
        "# Evaluation",
        f"{evaluation['protocol']}. {BYTES}",
        table(measured, [("bytes", bytes_of), *((PICTURE[name], figure_of(name)) for name in known)]),
    ]
    for name in evaluation["recognisers"] if pairs else []:
        parts += [
            f"## Face verification by {name}",
            f"{pairs['same']} pairs of one person and {pairs['different']} of two. {PAIRS}",
            table(
                [{"label": row["label"], "kind": row["kind"], **row["verification"], **row["verification"][name]}
                 for row in rows],
                [("bytes", bytes_of), ("identity", figure_of("identity")), ("accuracy", figure_of("accuracy")),
                 ("true accepts at 1% false", figure_of("true_accepts")),
                 *((title, figure_of(figure)) for figure, title in FNMR.items())],
            ),
        ]  # fmt: skip
    if books := [row for row in rows if "codebook" in row]:
        parts += [
            "## Codebooks",
            table(books, [
                ("perplexity", lambda row: f"{row['codebook']['mean']:.1f}"),
                ("share of the codes", lambda row: f"{row['codebook']['share']:.1%}"),
                ("the same, corrected for few portraits", lambda row: f"{row['codebook']['share_corrected']:.1%}"),
                ("codes used", lambda row: f"{row['codebook']['codes_used']:.1%}"),
            ]),
        ]  # fmt: skip
    parts += [
        "## What is not a rate",
        NO_RATE,
        table(
            [row for row in measured if row["kind"] == "model"],
            [("bytes stored", bytes_of), ("reconstruction as JPEG, bytes", figure_of("jpeg85_bytes", ",.0f"))],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def table(rows: list[Row], columns: list[Column]) -> str:
    lines = [
        "| | " + " | ".join(title for title, _ in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for row in rows:
        name = f"**{row['label']}**" if row["kind"] == "model" else row["label"]
        lines.append(f"| {name} | " + " | ".join(cell(row) for _, cell in columns) + " |")
    return "\n".join(lines)


def bytes_of(row: Row) -> str:
    """The mean, and the most where that is another number."""
    figure: Figure = row["bytes"]
    most = f" (at most {figure['max']:,.0f})" if figure["max"] > figure["mean"] else ""
    return f"{figure['mean']:,.0f}{most}"


def figure_of(name: str, form: str | None = None) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if name not in row:
            return ""
        figure: Figure = row[name]
        spec = form or (".2f" if name == "psnr" else ".3f")
        return "{:{spec}} ({:{spec}} to {:{spec}})".format(*(figure[k] for k in ("mean", "low", "high")), spec=spec)

    return cell
