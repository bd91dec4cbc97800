"""A search for the tokens from which the decoder makes the most similar face: analysis by synthesis.

The encoder rounds each latent on its own, which is best for the average face. But how much a rounding error changes the
identity differs from face to face. So each known latent may be rounded up or down, and gradient descent on the decoded
picture decides which: errors then lie where the recogniser is not sensitive to them. The tokens found are less likely
ones and take more bits: about an eighth of them no longer fits into the same bytes. The decoder does not change, so any
service reads the result.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from cameo.faces.recogniser import Recogniser
from cameo.nn.blocks import to_signal
from cameo.nn.progressive import Progressive

ROUNDS = {"fast": 0, "good": 6, "best": 16}  # by effort; fast is the encoder alone
REACH = 0.5  # how far a latent may be moved, in quantiser steps
PACE = 0.3  # quantiser steps that known latents move in the first round (root mean square); falls linearly to 0
LIKENESS = 0.4  # weight of 1 - cosine beside the squared error of the picture in [-1, 1]
TINY = 1e-12


class Search:
    """The search for one portrait. It only reads the weights; one thread at a time.

    ``pixels_CHW``: uint8, of the model's size. ``held`` says how many of all tokens idx_T go into the payload.
    ``rounds``: steps of gradient descent, see ``ROUNDS``. Model and recogniser are on one device, and may be
    on any.
    """

    def __init__(
        self,
        model: Progressive,
        recogniser: Recogniser,
        pixels_CHW: Tensor,
        held: Callable[[Tensor], int],
        rounds: int = ROUNDS["best"],
    ) -> None:
        self.model, self.recogniser, self._held, self._rounds = model, recogniser, held, rounds
        self._x_1CHW = to_signal(pixels_CHW[None].to(model.planes.rank_LP.device))
        with torch.no_grad():
            self._z_1L = model.encoder(self._x_1CHW)
            self._face_1E = recogniser(self._x_1CHW)
        self._shift_1L = torch.zeros_like(self._z_1L)  # in steps
        self._step_1L = torch.ones_like(self._z_1L)
        self._count()
        self._round = 0

    def improve(self) -> None:
        """One round."""
        improve([self])

    def finish(self) -> Tensor:
        """Do all rounds that are left; then :meth:`tokens`."""
        while self._round < self._rounds:
            self.improve()
        return self.tokens()

    def tokens(self) -> Tensor:
        """All tokens idx_T, int64, found so far; the payload holds the first of them."""
        with torch.no_grad():
            return self.model.quantise(self._z_1L + self._shift_1L * self._step_1L)[0].cpu()

    def _count(self) -> None:
        self._count_1 = torch.tensor([self._held(self.tokens())], device=self._z_1L.device)
        self._step_1L = self.model.planes.step(self.model.planes.last(self._count_1))

    @property
    def state(self) -> tuple[Tensor, ...]:
        """The arguments of :func:`step_down`, besides the networks: one row of a batch each."""
        pace_11 = self._z_1L.new_full((1, 1), PACE * (1 - self._round / self._rounds))
        return self._x_1CHW, self._face_1E, self._z_1L, self._shift_1L, self._count_1, pace_11

    def update(self, shift_1L: Tensor) -> None:
        """End a round with the result of :func:`step_down`."""
        self._shift_1L = shift_1L
        self._count()  # other tokens: another number of them fits the payload
        self._round += 1


def improve(searches: list[Search], rows: int = 1) -> None:
    """One round of each of some searches with the same networks, as one batch of at least ``rows``.

    The order of floating-point sums depends on the size of the batch. With a fixed size the result is always the same,
    whatever else is in the batch.
    """
    first = searches[0]
    filled = searches + [first] * (rows - len(searches))
    state = (torch.cat(column) for column in zip(*(search.state for search in filled), strict=True))
    shift_BL = step_down(first.model, first.recogniser, *state)
    for search, shift_1L in zip(searches, shift_BL.split(1), strict=False):
        search.update(shift_1L)


def search_shifts(model: Progressive, recogniser: Recogniser, x_BCHW: Tensor, count_B: Tensor, rounds: int) -> Tensor:
    """Search for pictures in [-1, 1] of which a decoder will know ``count_B`` tokens.

    Returns how far to move each latent, shift_BL, in quantiser steps.
    """
    with torch.no_grad():
        z_BL, face_BE = model.encoder(x_BCHW).float(), recogniser(x_BCHW)
    shift_BL = torch.zeros_like(z_BL)
    for i in range(rounds):
        pace_11 = z_BL.new_full((1, 1), PACE * (1 - i / rounds))
        shift_BL = step_down(model, recogniser, x_BCHW, face_BE, z_BL, shift_BL, count_B, pace_11)
    return shift_BL


def step_down(
    model: Progressive, recogniser: Recogniser, x_BCHW: Tensor, face_BE: Tensor, z_BL: Tensor, shift_BL: Tensor,
    count_B: Tensor, pace_B1: Tensor,
) -> Tensor:  # fmt: skip
    """One step of gradient descent on shift_BL, towards a more similar face.

    Latents move in proportion to their gradients; the root mean square over the known ones is ``pace_B1`` quantiser
    steps. Adam moves all latents by similar amounts, so it spends bits on those that hardly matter, and needs three
    times as many rounds.
    """
    last_BL = model.planes.last(count_B)
    shift_BL = shift_BL.detach().requires_grad_(True)
    known_BL = model.planes.through(z_BL + shift_BL * model.planes.step(last_BL), last_BL)
    picture_BCHW = model.decoder(known_BL, count_B).clamp(-1, 1)
    cosine_B = (recogniser(picture_BCHW) * face_BE).sum(1)
    error_B = (picture_BCHW - x_BCHW).square().mean((1, 2, 3))
    (slope_BL,) = torch.autograd.grad((error_B + LIKENESS * (1 - cosine_B)).sum(), shift_BL)
    known_B1 = (last_BL >= 0).sum(1, keepdim=True).clamp(min=1)
    length_B1 = (slope_BL.square().sum(1, keepdim=True) / known_B1).sqrt().clamp(min=TINY)
    return (shift_BL.detach() - pace_B1 * slope_BL / length_B1).clamp(-REACH, REACH)


def searchable(model: torch.nn.Module) -> Progressive | None:
    """The model, if its tokens can be searched for; None for those without bit planes."""
    return model if isinstance(model, Progressive) else None
