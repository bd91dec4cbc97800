"""A search for the tokens of which the decoder makes the likest face: analysis by synthesis.

The encoder rounds every latent by itself, which is best for the average face. Which sum of rounding errors a
recogniser minds differs from face to face, and the decoder adds its own. So each known latent may go to either of the
values around it, and gradient descent on the decoded picture says which, so that the errors come to lie where the
recogniser does not look. Tokens become dearer: about an eighth of them no longer fits into as many bytes. The decoder
does not change, so any service reads what comes out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from app.nn.blocks import to_signal
from app.nn.progressive import Progressive
from app.nn.recogniser import Recogniser, blurred, strayed

ROUNDS = 16
REACH = 0.5  # of the step between two values of a latent: how far it may be moved
PACE = 0.25  # of the step, in the first round; it falls in a straight line
LIKENESS = 0.4  # weight of 1 - cosine beside the squared error of the picture in [-1, 1]
JITTER, BLUR = 0.06, 1.0  # what the recogniser sees varies from round to round, so that its quirks even out


class Search:
    """One portrait's, for a payload that holds ``count`` tokens. Weights are only read; not for several threads.

    ``pixels_CHW``: uint8, of the model's size.
    """

    def __init__(self, model: Progressive, recogniser: Recogniser, pixels_CHW: Tensor, count: int) -> None:
        self._model, self._recogniser = model, recogniser
        self._count_1 = torch.tensor([count], device=pixels_CHW.device)
        self._x_1CHW = to_signal(pixels_CHW[None])
        with torch.no_grad():
            self._z_1L = model.encoder(self._x_1CHW)
        self._last_1L = model.planes.last(self._count_1)
        self._step_1L = model.planes.step(self._last_1L)
        self._shift_1L = torch.zeros_like(self._z_1L, requires_grad=True)  # in steps
        self._optimiser = torch.optim.Adam([self._shift_1L], betas=(0.9, 0.99))
        self._round = 0

    def improve(self) -> None:
        """One of ``ROUNDS`` rounds."""
        for group in self._optimiser.param_groups:
            group["lr"] = PACE * (1 - self._round / ROUNDS)
        known_1L = self._model.planes.through(self._moved(), self._last_1L)
        picture_1CHW = self._model.decoder(known_1L, self._count_1).clamp(-1, 1)
        loss = F.mse_loss(picture_1CHW, self._x_1CHW) + LIKENESS * (1 - self._cosine(picture_1CHW))
        (self._shift_1L.grad,) = torch.autograd.grad(loss, self._shift_1L)
        self._optimiser.step()
        with torch.no_grad():
            self._shift_1L.clamp_(-REACH, REACH)
        self._round += 1

    def finish(self) -> Tensor:
        """All rounds that are left, and :meth:`tokens`."""
        while self._round < ROUNDS:
            self.improve()
        return self.tokens()

    def tokens(self) -> Tensor:
        """All tokens idx_T, int64, as of now; those after the first ``count`` only refine what was found."""
        with torch.no_grad():
            return self._model.quantise(self._moved())[0]

    def _moved(self) -> Tensor:
        z_1L: Tensor = self._z_1L + self._shift_1L * self._step_1L
        return z_1L

    def _cosine(self, picture_1CHW: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self._round)
        device = picture_1CHW.device
        crop_123 = strayed(1, JITTER, generator).to(device)
        sigma_1 = BLUR * torch.rand(1, generator=generator).to(device)
        with torch.no_grad():
            target_1E = self._recogniser.look(blurred(self._x_1CHW, sigma_1), crop_123)[0]
        seen_1E = self._recogniser.look(blurred(picture_1CHW, sigma_1), crop_123)[0]
        return (target_1E * seen_1E).sum()
