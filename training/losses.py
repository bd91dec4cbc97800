"""The terms of the training loss, each with a name."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cameo.faces.recogniser import Recogniser, SFace, blurred, random_crops
from training.faceres import FaceRes
from training.perceptual import LPIPS, Perceptual, unlike
from training.recipe import Recipe

RIVALS = 512  # faces that losses.contrast tells apart
SAME_PERSON = 0.4  # cosine from which two pictures may show one person
TEMPERATURE = 0.1  # of the cosines
RECOGNISERS: dict[str, type[SFace | FaceRes]] = {"sface": SFace, "faceres": FaceRes}


@dataclass(frozen=True)
class Networks:
    """Weights of the networks that losses need, as paths."""

    sface: Path | None = None
    faceres: Path | None = None
    vgg: Path | None = None
    lpips: Path | None = None

    def recogniser_file(self, name: str) -> Path:
        """The weights of the one that a recipe calls ``name``; ValueError where they are missing."""
        return needed(getattr(self, name), f"the recogniser {name}", f"--{name}")

    def recogniser(self, name: str) -> Recogniser:
        """The network with these weights."""
        return RECOGNISERS[name](self.recogniser_file(name))


class Criterion(nn.Module):
    """The recipe's loss, with the networks and the metric that it needs.

    ``metric_RP`` is :func:`training.identity.identity_metric`'s. ValueError where a network's weights are missing.
    """

    metric_RP: Tensor | None

    def __init__(self, recipe: Recipe, metric_RP: Tensor | None, networks: Networks) -> None:
        super().__init__()
        self.weights = w = recipe.losses
        self.register_buffer("metric_RP", metric_RP)
        sees_faces = w.likeness or w.face_features
        names = w.recognisers if sees_faces else ()
        self.recognisers = nn.ModuleList(CentredRecogniser(networks.recogniser(name)) for name in names)
        self.perceptual = Perceptual(needed(networks.vgg, "losses.perceptual", "--vgg")) if w.perceptual else None
        self.lpips = LPIPS(needed(networks.lpips, "losses.lpips", "--lpips")) if w.lpips else None

    def centre(self, x_NCHW: Tensor) -> None:
        """Show every recogniser other people's faces, see :meth:`CentredRecogniser.centre`."""
        for recogniser in self.recognisers:
            assert isinstance(recogniser, CentredRecogniser)
            recogniser.centre(x_NCHW)

    def forward(self, picture_BCHW: Tensor, x_BCHW: Tensor, own: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Weighted scalars by name, whose sum is the loss. Pictures, decoded and original, are in [-1, 1].

        ``own`` are the terms that the kind of model has, see :meth:`training.kinds.base.Kind.terms`.
        """
        w, picture_BCHW = self.weights, picture_BCHW.float()
        named = {}
        if w.mse:
            named["mse"] = w.mse * F.mse_loss(picture_BCHW, x_BCHW)
        if w.l1:
            named["l1"] = w.l1 * F.l1_loss(picture_BCHW, x_BCHW)
        named |= own
        if self.metric_RP is not None:
            # In full precision: oneDNN divides by zero in so long a product of bfloat16 where the CPU has AMX.
            with torch.autocast(x_BCHW.device.type, enabled=False):
                named["identity"] = w.identity * squared((picture_BCHW - x_BCHW).flatten(1) @ self.metric_RP.T)
        # Terms that are not due yet stand in the log nevertheless, which has the same columns throughout.
        due, none = step >= w.late, picture_BCHW.new_zeros(())
        if self.recognisers:
            likeness, features = self._likeness(picture_BCHW, x_BCHW, step) if due else (none, none)
            if w.likeness:
                named["likeness"] = w.likeness * likeness
            if w.face_features:
                named["face_features"] = w.face_features * features
        if self.perceptual is not None:
            seen = slice(w.perceptual_faces)
            named["perceptual"] = w.perceptual * self.perceptual(picture_BCHW[seen], x_BCHW[seen]) if due else none
        if self.lpips is not None:
            seen = slice(w.lpips_faces)
            named["lpips"] = w.lpips * self.lpips(picture_BCHW[seen], x_BCHW[seen]).mean() if due else none
        return named

    def _likeness(self, picture_BCHW: Tensor, x_BCHW: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Distance by a recogniser's embedding, and by its feature maps; they take turns."""
        recogniser = self.recognisers[step % len(self.recognisers)]
        assert isinstance(recogniser, CentredRecogniser)
        seen = slice(self.weights.likeness_faces)
        picture_BCHW, x_BCHW = picture_BCHW[seen], x_BCHW[seen]
        generator = torch.Generator().manual_seed(step)  # of the step alone, so that a resumed run sees the same
        crop_B23 = None
        if jitter := self.weights.likeness_jitter:
            crop_B23 = random_crops(len(x_BCHW), jitter, generator).to(x_BCHW.device)
        if blur := self.weights.likeness_blur:
            sigma_B = blur * torch.rand(len(x_BCHW), generator=generator).to(x_BCHW.device)
            picture_BCHW, x_BCHW = blurred(picture_BCHW, sigma_B), blurred(x_BCHW, sigma_B)
        e_BE, maps = recogniser(picture_BCHW, crop_B23)
        with torch.no_grad():
            of_x_BE, of_x_maps = recogniser(x_BCHW, crop_B23)
        features = torch.stack([unlike(a, b).sum(1).mean() for a, b in zip(maps, of_x_maps, strict=True)]).mean()
        cosine_B = (e_BE * of_x_BE).sum(1)
        likeness = (1 - cosine_B).mean()
        if self.weights.contrast and recogniser.rivals_NE is not None:
            likeness = likeness + self.weights.contrast * contrast(e_BE, of_x_BE, recogniser.rivals_NE)
        return likeness, features


class CentredRecogniser(nn.Module):
    """A recogniser whose embeddings are relative to the mean face: what all faces have in common does not count."""

    mean_E: Tensor
    rivals_NE: Tensor | None

    def __init__(self, recogniser: Recogniser) -> None:
        super().__init__()
        self.recogniser = recogniser
        self.register_buffer("mean_E", torch.zeros(1))
        self.register_buffer("rivals_NE", None)

    @torch.no_grad()
    def centre(self, x_NCHW: Tensor) -> None:
        """Take the mean of the faces of other people, in [-1, 1], which are also the rivals of ``losses.contrast``."""
        device = self.mean_E.device
        e_NE = torch.cat([self.recogniser(part.to(device)) for part in x_NCHW.split(32)])
        self.mean_E = e_NE.mean(0)
        self.rivals_NE = F.normalize(e_NE - self.mean_E, dim=1)

    def forward(self, x_BCHW: Tensor, crop_B23: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Unit embeddings e_BE, and feature maps."""
        e_BE, maps = self.recogniser.features(x_BCHW, crop_B23)
        return F.normalize(e_BE - self.mean_E, dim=1), maps


def contrast(e_BE: Tensor, of_x_BE: Tensor, rivals_NE: Tensor) -> Tensor:
    """Cross-entropy of telling each face from rivals (InfoNCE, van den Oord et al. 2018).

    A codec that draws all faces a little alike keeps their cosines and loses this.
    """
    own_B1 = (e_BE * of_x_BE).sum(1, keepdim=True)
    # A rival that looks like the original may be the same person.
    others_BN = (e_BE @ rivals_NE.T).masked_fill(of_x_BE @ rivals_NE.T > SAME_PERSON, -torch.inf)
    logit_BN = torch.cat([own_B1, others_BN], 1) / TEMPERATURE
    return F.cross_entropy(logit_BN, logit_BN.new_zeros(len(logit_BN), dtype=torch.long))


def squared(error_BL: Tensor) -> Tensor:
    """Squared length, mean over the batch."""
    return error_BL.square().sum(1).mean()


def needed(weights: Path | None, what: str, option: str) -> Path:
    if weights is None:
        raise ValueError(f"the recipe has {what}: give the network's weights with {option} FILE")
    return weights
