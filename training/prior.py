"""The prior of a progressive code: a NADE (Larochelle and Murray 2011) learnt in the integers that it is used in.

What a face's earlier tokens tell of the next: how strong its contrasts are, and which of them go together. Training
runs on floats that are rounded in the forward pass, with straight-through gradients, so it sees the prior that the
coder will use, up to the coder's table.
"""

import logging
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange

from cameo.codec.prior import BLOCK, MOST_CONTEXT, NAT
from cameo.nn.progressive import CODES, Progressive

log = logging.getLogger("cameo.training")

UNIT = 32  # integers of the context to one unit in training
LARGEST = 127  # of the weights: they are stored as 8 bits
BATCH = 256
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 0.02
HELD_OUT = 16  # every so many faces one tells what the prior is worth, and is not learnt from
REFINES = 3  # what is added to the value of a token that refines


class Nade(nn.Module):
    """Probabilities of the decisions of tokens, block by block.

    G blocks of S = 32 tokens, the last filled up; C = 3 values or decisions.
    """

    def __init__(self, tokens: int, context: int, generator: torch.Generator) -> None:
        super().__init__()
        blocks = -(-tokens // BLOCK)
        shape = (blocks, BLOCK * CODES, context)
        self.embed_GSH = nn.Parameter(0.1 * torch.randn(shape, generator=generator))
        self.output_GSH = nn.Parameter(torch.zeros(shape))
        self.bias_GS = nn.Parameter(torch.zeros(blocks, BLOCK * CODES))

    def forward(self, value_BT: Tensor) -> Tensor:
        """Logits of decisions, in nats: logit_BTC, for all tokens at once."""
        blocks = len(self.embed_GSH)
        value_BT = F.pad(value_BT, (0, blocks * BLOCK - value_BT.shape[1]))
        seen_GBS = F.one_hot(value_BT, CODES).float().unflatten(1, (blocks, BLOCK)).flatten(2).transpose(0, 1)
        said_GBH = seen_GBS @ whole(self.embed_GSH, UNIT)
        before_GBH = said_GBH.cumsum(0) - said_GBH
        context_GBH = before_GBH.clamp(0, MOST_CONTEXT / UNIT)
        logit_GBS = context_GBH @ whole(self.output_GSH, NAT // UNIT).mT + self.bias_GS[:, None]
        logit_BTC: Tensor = logit_GBS.transpose(0, 1).flatten(1).unflatten(1, (-1, CODES))
        return logit_BTC

    def integers(self, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
        """embed_T3H, output_T3H, bias_T3 as the coder takes them."""

        def rows(array: Tensor, unit: int) -> Tensor:
            return (
                (array * unit)
                .round()
                .clamp(-LARGEST, LARGEST)
                .to(torch.int8)
                .reshape(-1, CODES, array.shape[-1])[:tokens]
            )

        bias_T3 = (self.bias_GS * NAT).round().int().reshape(-1, CODES)[:tokens]
        return rows(self.embed_GSH, UNIT), rows(self.output_GSH, NAT // UNIT), bias_T3


def whole(array: Tensor, unit: int) -> Tensor:
    """Rounded to 1 / unit and kept within 8 bits; the gradient passes."""
    rounded = (array.detach() * unit).round().clamp(-LARGEST, LARGEST) / unit
    return array + (rounded - array).detach()


@torch.enable_grad()
def fit_prior(model: Progressive, z_ML: Tensor, steps: int) -> dict[str, float]:
    """Learn the prior of the tokens of latents z_ML, and give it to the model.

    What a held-out face then takes for all its tokens, in bits: ``fixed`` width, ``alone`` (each token by its own
    frequencies) and with the ``prior``.
    """
    generator = torch.Generator().manual_seed(0)
    kind_MT = torch.cat([kinds(model, part) for part in z_ML.split(500)])
    test_MT, train_MT = kind_MT[::HELD_OUT], kind_MT[torch.arange(len(kind_MT)) % HELD_OUT > 0]
    tokens = kind_MT.shape[1]
    nade = Nade(tokens, model.config.context, generator)
    with torch.no_grad():
        yes_T3, asked_T3 = _counts(train_MT)
        chance_T3 = (yes_T3 + 0.5) / (asked_T3 + 1)
        nade.bias_GS.view(-1)[: tokens * CODES] = torch.logit(chance_T3).flatten().clamp(-8, 8)
        alone = _bits(nade, test_MT)
    optimiser = torch.optim.AdamW(nade.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.99))
    for step in trange(steps, desc="prior", unit="step"):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        chosen = torch.randint(len(train_MT), (BATCH,), generator=generator)
        loss = nats(nade, train_MT[chosen])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        for buffer, values in zip(
            (model.embed_T3H, model.output_T3H, model.bias_T3), nade.integers(tokens), strict=True
        ):
            buffer.copy_(values)
        bits = {"fixed": 2.0 * tokens, "alone": alone, "prior": _bits(nade, test_MT)}
    log.info("bits of all %d tokens: %s", tokens, {name: round(value) for name, value in bits.items()})
    return bits


def kinds(model: Progressive, z_ML: Tensor) -> Tensor:
    """Tokens, with REFINES added where they refine: kind_MT, uint8."""
    planes = model.planes
    shift_T = planes.planes - 1 - planes.plane_T
    refines_MT = (planes.magnitude(z_ML)[:, planes.latent_T] >> shift_T) > 1
    return (planes.tokens(z_ML) + REFINES * refines_MT).to(torch.uint8)


def _decisions(kind_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Which decisions were asked, and which answered with yes: asked_BTC, yes_BTC."""
    refines = kind_BT >= REFINES
    new = (kind_BT == 1) | (kind_BT == 2)
    asked = torch.stack([~refines, new, refines], 2)
    return asked, torch.stack([new, kind_BT == 2, kind_BT == REFINES + 1], 2)


def _counts(kind_MT: Tensor) -> tuple[Tensor, Tensor]:
    yes_T3 = asked_T3 = torch.zeros(kind_MT.shape[1], CODES)
    for part in kind_MT.split(500):
        asked, yes = _decisions(part)
        yes_T3, asked_T3 = yes_T3 + yes.sum(0), asked_T3 + asked.sum(0)
    return yes_T3, asked_T3


def nats(nade: Nade, kind_BT: Tensor) -> Tensor:
    """What the tokens of a face take, mean over faces, in nats."""
    asked_BTC, yes_BTC = _decisions(kind_BT)
    value_BT = torch.where(kind_BT >= REFINES, kind_BT - REFINES, kind_BT).long()
    logit_BTC = nade(value_BT)[:, : kind_BT.shape[1]]
    each_BTC = F.binary_cross_entropy_with_logits(logit_BTC, yes_BTC.float(), reduction="none")
    return (each_BTC * asked_BTC).sum((1, 2)).mean()


@torch.no_grad()
def _bits(nade: Nade, kind_MT: Tensor) -> float:
    parts = [(float(nats(nade, part)), len(part)) for part in kind_MT.split(BATCH)]
    return sum(mean * faces for mean, faces in parts) / len(kind_MT) / math.log(2)
