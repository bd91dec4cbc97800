"""The known answer of a version: what its model gave when it was published, and must give wherever it is loaded.

A hash says that weights are the published ones, not that they are any good, nor that this machine computes with them as
another does. The answer is for a picture that is made of integers, so it needs no file.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from cameo.codec import Payload, unwrap
from cameo.codec.coding import TokenCoding
from cameo.nn import Model
from cameo.store.manifest import KnownAnswer

BLOCKS = 8  # along each side of the picture: what is recorded are the means of 8 x 8 blocks
MOST_LEVELS = 1.5  # of 255, by which such a mean may be off: rounding, and half precision on GPUs
LEAST_SHARE = 0.9  # of the tokens: on another machine a latent may round the other way, here and there
TAG = bytes(2)  # of no version: the tag follows from the manifest, which holds the answer


def synthetic_picture(size: int) -> NDArray[np.uint8]:
    """Smooth colours with something of an oval in them, shape (size, size, 3)."""
    y, x = np.mgrid[:size, :size] * 256 // size
    oval = ((x - 128) ** 2 + (y - 128) ** 2 * 2 // 3) // 64 < 160
    channels = [(3 * x + y) // 4, (x + 3 * y) // 4, 255 - (x + y) // 2]
    return np.stack([np.where(oval, (c + 384) // 3, c) for c in channels], 2).astype(np.uint8)


def record(model: Model, budget: int | None) -> KnownAnswer:
    """The answer of a model, whose payloads take ``budget`` bytes; None for one with a single rate."""
    coding = model.coding()
    pixels_1CHW = torch.from_numpy(synthetic_picture(model.config.size).transpose(2, 0, 1).copy())[None]
    payload, held = coding.pack(model.encode(pixels_1CHW)[0].numpy(), TAG, budget)
    picture_CHW = model.decode(torch.from_numpy(held)[None])[0].numpy()
    return KnownAnswer(body=unwrap(payload).body.hex(), picture=means(picture_CHW.transpose(1, 2, 0)).tobytes().hex())


def tokens(answer: KnownAnswer, coding: TokenCoding) -> NDArray[np.int64]:
    """Those that the answer holds. ValueError where its body is not of this coding."""
    try:
        return coding.unpack(Payload(coding.number, TAG, bytes.fromhex(answer.body)))
    except Exception as error:
        raise ValueError(f"the body of the manifest's known answer cannot be read: {error}") from error


def require(
    answer: KnownAnswer, encoded: NDArray[np.int64], held: NDArray[np.int64], picture: NDArray[np.uint8]
) -> None:
    """ValueError where a loaded model gives another answer.

    ``encoded``: all its tokens of :func:`synthetic_picture`; ``held``: the answer's own; ``picture``: drawn of these.
    """
    same = float((encoded.reshape(-1)[: held.size] == held.reshape(-1)).mean())
    if same < LEAST_SHARE:
        raise ValueError(f"it does not give its known answer: {same:.0%} of the tokens are those of the manifest")
    recorded = np.frombuffer(bytes.fromhex(answer.picture), np.uint8).astype(int)
    off = int(np.abs(means(picture).reshape(-1).astype(int) - recorded).max())
    if off > MOST_LEVELS:
        raise ValueError(f"it does not give its known answer: the picture is {off} levels off the manifest's")


def means(picture_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of the blocks, rounded: shape (8, 8, 3)."""
    side = len(picture_HWC) // BLOCKS
    blocks = picture_HWC.reshape(BLOCKS, side, BLOCKS, side, 3).astype(np.float64)
    return np.asarray(blocks.mean((1, 3)) + 0.5, np.uint8)
