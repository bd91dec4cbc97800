from pathlib import Path

import torch

from cameo.nn import build
from cameo.nn.blocks import to_signal
from cameo.nn.grid import GridVQVAE
from cameo.nn.progressive import Progressive
from training.data.portraits import Portraits
from training.initialise import karhunen_loeve
from training.kinds import kind_named
from training.recipe import read_recipe


def test_karhunen_loeve_inverts_and_decorrelates() -> None:
    torch.manual_seed(0)
    y_MY = torch.randn(500, 6) @ torch.randn(6, 6)
    y_MY -= y_MY.mean(0)
    analysis, synthesis, variance = karhunen_loeve(y_MY, torch.randn(2, 6))
    assert torch.allclose(y_MY @ analysis.T @ synthesis.T, y_MY, atol=1e-3)
    covariance = (y_MY @ analysis.T).T @ (y_MY @ analysis.T) / len(y_MY)
    assert torch.allclose(covariance, torch.diag(variance), atol=1e-2 * float(variance[0]))
    assert (variance.diff() <= 0).all()


def test_an_error_in_a_latent_is_an_error_in_the_metric() -> None:
    torch.manual_seed(0)
    seen = torch.randn(2, 6)
    _, synthesis, _ = karhunen_loeve(torch.randn(500, 6), seen)
    error_Y = synthesis[:, 1] * 0.3
    metric = error_Y.square().sum() + (seen @ error_Y).square().sum()
    assert torch.allclose(metric, torch.tensor(0.09), rtol=1e-3)


def test_the_untrained_model_is_a_working_codec(recipe_file: Path, data: Portraits) -> None:
    """Before the first step the networks add nothing, and the linear codec alone beats the mean picture by far."""
    recipe = read_recipe(recipe_file)
    torch.manual_seed(0)
    model = build(recipe.model).eval()
    kind_named(recipe.model)(model, recipe).initialise(data, None)
    x_BCHW = to_signal(data.centres(64))
    if isinstance(model, GridVQVAE):  # no transform, but codes where its latents are
        used = model.encode(data.centres(64)).unique()
        assert len(used) == 16
        return
    with torch.no_grad():
        if isinstance(model, Progressive):
            out = model(x_BCHW, torch.full((len(x_BCHW),), model.config.tokens)).picture_BCHW
        else:
            out = model.decoder(model.encoder(x_BCHW))
        error = (out - x_BCHW).square().mean()
    assert error < 0.5 * (x_BCHW - x_BCHW.mean(0)).square().mean()
