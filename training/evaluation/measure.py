"""From portraits to files on disk, and from those to figures: nothing that is measured has seen a forward pass."""

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from cameo.pictures.decode import decode
from cameo.pictures.quality import SIDE, enlarge, ms_ssim, psnr
from training.data.portraits import Portraits
from training.evaluation.bootstrap import Figure, numbered, summary
from training.evaluation.contenders import Contender, Pixels
from training.evaluation.trained import CPU, Trained
from training.evaluation.verification import Judge
from training.kinds import kind_of
from training.perceptual import LPIPS

Embeddings = NDArray[np.floating[Any]]

BATCH = 50
BEST_PSNR = 100.0  # decibels, for a picture without any error


@dataclass(frozen=True)
class Faces:
    """Portraits of 128 pixels: a name for the file of each, its person as a number, and a way to read them."""

    names: list[str]
    person_N: NDArray[np.int64]
    read: Callable[[NDArray[np.int64]], list[Pixels]]

    def __len__(self) -> int:
        return len(self.names)

    def parts(self, title: str) -> Iterator[NDArray[np.int64]]:
        """Indices in batches, with a progress bar."""
        with tqdm(total=len(self), desc=title, unit="face") as bar:
            for part in np.array_split(np.arange(len(self)), -(-len(self) // BATCH)):
                yield part
                bar.update(len(part))


def of_data(portraits: Portraits, limit: int | None = None) -> Faces:
    """The portraits of a data set, or as many of them as ``limit`` says, drawn evenly. ValueError for none."""
    if limit is not None and limit < 1:
        raise ValueError(f"{limit} portraits cannot be measured: give at least 1")
    row_N = np.random.default_rng(0).permutation(len(portraits))[:limit]
    row_N.sort()

    def read(indices: NDArray[np.int64]) -> list[Pixels]:
        return list(portraits.centres(SIDE, row_N[indices]).permute(0, 2, 3, 1).contiguous().numpy())

    return Faces([str(row) for row in row_N], numbered([portraits.people[row] for row in row_N]), read)


def of_folder(folder: Path, names: Sequence[str]) -> Faces:
    """Portraits in files PERSON/FILE below a folder. ValueError, while reading, for one of another size."""

    def read(indices: NDArray[np.int64]) -> list[Pixels]:
        pictures = []
        for name in (names[i] for i in indices):
            picture = decode((folder / name).read_bytes(), SIDE * SIDE)
            if picture.shape[:2] != (SIDE, SIDE):
                raise ValueError(
                    f"{folder / name} is no portrait of {SIDE} pixels; 'python -m training prepare' frames"
                )
            pictures.append(picture)
        return pictures

    return Faces(list(names), numbered([Path(name).parts[0] for name in names]), read)


@dataclass(frozen=True)
class Judges:
    """What says how good a picture is: recognisers by name, and LPIPS where its weights are given."""

    recognisers: dict[str, Judge]
    lpips: LPIPS | None = None
    device: torch.device = CPU

    def embed(self, faces: Faces, title: str) -> dict[str, Embeddings]:
        """What each recogniser says of the originals: N vectors of length 1."""
        if not self.recognisers:
            return {}
        found = defaultdict(list)
        for part in faces.parts(title):
            for portrait in faces.read(part):
                for name, recogniser in self.recognisers.items():
                    found[name].append(recogniser.embed(portrait))
        return {name: np.stack(vectors) for name, vectors in found.items()}

    def distances(self, a: list[Pixels], b: list[Pixels]) -> list[float]:
        assert self.lpips is not None
        with torch.inference_mode():
            distances: list[float] = self.lpips(self._signal(a), self._signal(b)).tolist()
        return distances

    def _signal(self, pictures: list[Pixels]) -> torch.Tensor:
        x_BHWC = torch.from_numpy(np.stack(pictures)).to(self.device)
        return x_BHWC.permute(0, 3, 1, 2) / 127.5 - 1


@dataclass(frozen=True)
class Measured:
    """What came out: figures by name, each N numbers, and embeddings of the reconstructions by recogniser."""

    value_N: dict[str, NDArray[np.float64]]
    embeddings: dict[str, Embeddings]
    paths: list[Path]


def identity(recogniser: str) -> str:
    """The name of the figure: the mean cosine of original and reconstruction. SFace's is the plain one."""
    return "identity" if recogniser == "sface" else f"identity_{recogniser}"


def measure(
    contender: Contender, faces: Faces, folder: Path, judges: Judges, originals: dict[str, Embeddings], *,
    identity_only: bool = False,
) -> Measured:  # fmt: skip
    """Write a file for every portrait, read all of them back, and compare at 128 pixels.

    ``originals`` is what :meth:`Judges.embed` said of the faces. With ``identity_only`` recognisers alone look at the
    pictures. OSError when the disk is full.
    """
    value_N: dict[str, list[float]] = defaultdict(list)
    embeddings: dict[str, list[NDArray[np.floating[Any]]]] = defaultdict(list)
    paths = [folder / f"{name}{contender.suffix}" for name in faces.names]
    for parent in {path.parent for path in paths}:
        parent.mkdir(parents=True, exist_ok=True)
    for part in faces.parts(f"{contender.label}: code"):
        for i, coded in zip(part, contender.code(faces.read(part)), strict=True):
            try:
                paths[i].write_bytes(coded.data)
            except OSError as error:
                raise OSError(f"{paths[i]} cannot be written: {error.strerror}; make room and start again") from error
            value_N["bytes"].append(coded.size)
    for part in faces.parts(f"{contender.label}: decode, compare"):
        drawn = contender.show([paths[i].read_bytes() for i in part])
        pictures = [enlarge(picture) for picture in drawn]
        for i, picture in zip(part, pictures, strict=True):
            for name, recogniser in judges.recognisers.items():
                embedding = recogniser.embed(picture)
                embeddings[name].append(embedding)
                value_N[identity(name)].append(float(embedding @ originals[name][i]))
        if identity_only:
            continue
        portraits = faces.read(part)
        value_N["jpeg85_bytes"] += [jpeg85_bytes(picture) for picture in drawn]
        value_N["psnr"] += [min(psnr(a, b), BEST_PSNR) for a, b in zip(portraits, pictures, strict=True)]
        value_N["ms_ssim"] += [ms_ssim(a, b) for a, b in zip(portraits, pictures, strict=True)]
        if judges.lpips:
            value_N["lpips"] += judges.distances(pictures, portraits)
    return Measured(
        {name: np.array(values) for name, values in value_N.items()},
        {name: np.stack(vectors) for name, vectors in embeddings.items()},
        paths,
    )


def jpeg85_bytes(picture: Pixels) -> int:
    """What the VAE comparison once took for a rate: the size of the reconstruction as a JPEG of quality 85.

    It is none. The file is made of the picture that the decoder has drawn, which nobody stores or sends.
    """
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=85)
    return file.tell()


def figures(measured: Measured, faces: Faces) -> dict[str, Figure]:
    """Every figure with its spread and its 95% interval; for the bytes also the most."""
    table = {name: summary(value_N, faces.person_N) for name, value_N in measured.value_N.items()}
    table["bytes"]["max"] = float(measured.value_N["bytes"].max())
    return table


def codebook_use(trained: Trained, measured: Measured) -> Figure | None:
    """Perplexity of the codebooks over the stored payloads; None for a model without any."""
    found = kind_of(trained.model).codebooks(trained.model)
    if found is None:
        return None
    books, codes = found
    idx_MT = np.stack(trained.tokens([path.read_bytes() for path in measured.paths])).reshape(len(measured.paths), -1)
    return perplexity(idx_MT.reshape(-1, 1) if books == 1 else idx_MT, codes)


def tokens_held(trained: Trained, measured: Measured, faces: Faces) -> Figure | None:
    """How many tokens a stored payload holds; None for a model that stores all."""
    if trained.budget is None:
        return None
    held = [len(tokens) for tokens in trained.tokens([path.read_bytes() for path in measured.paths])]
    return summary(np.array(held, np.float64), faces.person_N)


def perplexity(idx_MT: NDArray[np.int64], codes: int) -> Figure:
    """Exponential of the entropy of code usage: of each codebook on its own, averaged, as a share of its codes.

    M vectors show at most M codes of a codebook, so the figure is low by about (codes - 1) / 2M of a nat;
    ``share_corrected`` adds that back (Miller 1955).
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
