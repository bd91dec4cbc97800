"""A search for the tokens of which the decoder makes the likest face: analysis by synthesis.

The encoder rounds every latent by itself, which is best for the average face. Which sum of rounding errors a
recogniser minds differs from face to face, and the decoder adds its own. So each known latent may go to either of the
values around it, and gradient descent on the decoded picture says which, so that the errors come to lie where the
recogniser does not look. Tokens become dearer: about an eighth of them no longer fits into as many bytes. The decoder
does not change, so any service reads what comes out.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from app.nn.blocks import to_signal
from app.nn.progressive import Progressive
from app.nn.recogniser import Recogniser

ROUNDS = {"fast": 0, "good": 3, "best": 8}  # by effort; fast is the encoder alone
REACH = 0.5  # of the step between two values of a latent: how far it may be moved
PACE = 0.3  # of the step: what a known latent moves in the first round, root mean square; it falls in a straight line
LIKENESS = 0.4  # weight of 1 - cosine beside the squared error of the picture in [-1, 1]
TINY = 1e-12


class Search:
    """One portrait's. Weights are only read; not for several threads.

    ``pixels_CHW``: uint8, of the model's size. ``held`` says how many of all tokens idx_T go into the payload.
    ``rounds``: how often the picture is looked at, see ``ROUNDS``.
    """

    def __init__(
        self,
        model: Progressive,
        recogniser: Recogniser,
        pixels_CHW: Tensor,
        held: Callable[[Tensor], int],
        rounds: int = ROUNDS["best"],
    ) -> None:
        self._model, self._recogniser, self._held, self._rounds = model, recogniser, held, rounds
        self._x_1CHW = to_signal(pixels_CHW[None])
        with torch.no_grad():
            self._z_1L = model.encoder(self._x_1CHW)
            self._face_1E = recogniser(self._x_1CHW)
        self._shift_1L = torch.zeros_like(self._z_1L)  # in steps
        self._step_1L = torch.ones_like(self._z_1L)
        self._count()
        self._round = 0

    def improve(self) -> None:
        """One of the rounds.

        Latents move in proportion to their slopes. Adam, which moves all of them alike, spends bits on those that
        hardly matter, and takes three times as many rounds.
        """
        shift_1L = self._shift_1L.requires_grad_(True)
        known_1L = self._model.planes.through(self._moved(), self._last_1L)
        picture_1CHW = self._model.decoder(known_1L, self._count_1).clamp(-1, 1)
        cosine = (self._recogniser(picture_1CHW) * self._face_1E).sum()
        loss = F.mse_loss(picture_1CHW, self._x_1CHW) + LIKENESS * (1 - cosine)
        (slope_1L,) = torch.autograd.grad(loss, shift_1L)
        known = (self._last_1L >= 0).sum().clamp(min=1)
        length = (slope_1L.square().sum() / known).sqrt().clamp(min=TINY)
        pace = PACE * (1 - self._round / self._rounds)
        self._shift_1L = (shift_1L.detach() - pace * slope_1L / length).clamp(-REACH, REACH)
        self._count()  # what the next round should look at
        self._round += 1

    def finish(self) -> Tensor:
        """All rounds that are left, and :meth:`tokens`."""
        while self._round < self._rounds:
            self.improve()
        return self.tokens()

    def tokens(self) -> Tensor:
        """All tokens idx_T, int64, as of now; those after what the payload holds only refine what was found."""
        with torch.no_grad():
            return self._model.quantise(self._moved())[0]

    def _count(self) -> None:
        self._count_1 = torch.tensor([self._held(self.tokens())], device=self._z_1L.device)
        self._last_1L = self._model.planes.last(self._count_1)
        self._step_1L = self._model.planes.step(self._last_1L)

    def _moved(self) -> Tensor:
        z_1L: Tensor = self._z_1L + self._shift_1L * self._step_1L
        return z_1L
