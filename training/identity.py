"""The identity metric: which changes of a picture face recognisers see."""

import torch
from torch import Tensor
from tqdm import tqdm

from cameo.faces.recogniser import Recogniser, random_crops


def identity_metric(
    recogniser: Recogniser, x_BCHW: Tensor, rank: int, seed: int = 0, jitter: float = 0.0, chunk: int = 16
) -> Tensor:
    """What a recogniser looks at: a matrix A_RP such that |A d|^2 is about |change of embedding|^2.

    d is a change of the picture, flattened to P numbers in [-1, 1] units. With J the Jacobian of the embedding,
    J^T v for random normal v is an unbiased sample of the mean of J^T J over faces; one sample a face of x_BCHW
    is drawn, through a crop that strays by ``jitter``, and the ``rank`` strongest directions are kept. As a
    quadratic loss it costs a matrix product, where the network itself would cost more than the model in training.
    The recogniser's device does the work; A is on the CPU.
    """
    device = recogniser.theta.device
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for part in tqdm(torch.split(x_BCHW, chunk), desc="identity metric", unit="batch"):
        x = part.to(device, copy=True).requires_grad_(True)
        embedding, _ = recogniser.features(x, random_crops(len(x), jitter, generator).to(device) if jitter else None)
        (gradient,) = torch.autograd.grad(embedding, x, torch.randn(embedding.shape, generator=generator).to(device))
        samples.append(gradient.flatten(1))
    sample_MP = torch.cat(samples)
    gram_MM = sample_MP @ sample_MP.T / len(sample_MP)
    strongest_MR = torch.linalg.eigh(gram_MM).eigenvectors[:, -rank:]
    # A = diag(s) V^T of the singular value decomposition of the samples / sqrt(M), through the small Gram matrix.
    metric_RP: Tensor = strongest_MR.T @ sample_MP / len(sample_MP) ** 0.5
    return metric_RP.cpu()
