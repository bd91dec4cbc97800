from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cameo.nn import Model, build
from cameo.nn.blocks import Decoder, Encoder, Mixer, patches, to_pixels, to_signal
from cameo.nn.grid import GridVQVAE
from cameo.nn.quantise import ScalarQuantiser, VectorQuantiser
from cameo.nn.vae import VAEConfig
from tests.tiny import CONFIGS, tiny_model

VAE = CONFIGS["tiny-vae"]
VQVAE = CONFIGS["tiny-vqvae"]


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def model(request: pytest.FixtureRequest) -> Model:
    return tiny_model(request.param)


def pictures(model: Model, count: int) -> Tensor:
    size = model.config.size
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.manual_seed(1))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "model.kind is None; allowed: vae, vqvae"),
        ({"kind": "gan"}, "model.kind is 'gan'"),
        (VAE | {"colour": 1, "beta": 2}, r"unknown keys \['beta', 'colour'\]"),
        (VAE | {"tokens": 8}, r"unknown keys \['tokens'\]; vae takes"),
        ({k: v for k, v in VQVAE.items() if k not in ("codes", "width")}, r"model lacks \['width', 'codes'\]"),
        (VAE | {"width": 8.0}, "model.width has the value 8.0"),
        (VAE | {"width": True}, "model.width has the value True"),
        (VAE | {"width": "8"}, "model.width has the value '8'"),
        (VAE | {"depth": 0}, "model.depth has the value 0"),
        (VAE | {"bits": -5}, "model.bits has the value -5"),
        (VAE | {"latents": 24}, "model.latents is 24; it must list"),
        (VAE | {"latents": []}, r"model.latents is \[\]"),
        (VAE | {"latents": [20, 0]}, "model.latents has the value 0"),
        (VAE | {"latents": [20, "4"]}, "model.latents has the value '4'"),
        (VAE | {"size": 96}, "model.size is 96; portraits are 64 or 128 pixels"),
        (VAE | {"patch": 12}, "model.patch is 12; it must divide model.size, which is 64"),
        (VAE | {"bands": 769}, "model.bands is 769; at most 768, in 2 equal blocks"),
        (VAE | {"bands": 9}, "model.bands is 9; at most 768, in 2 equal blocks"),
        (VQVAE | {"code_dim": 3}, "model.latents sum to 64; that must be tokens x code_dim"),
    ],
)
def test_what_is_wrong_is_named(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(config)


def test_the_configuration_is_left_alone() -> None:
    config = {**VAE}
    build(config)
    assert config == VAE


def test_encode_gives_tokens_within_their_levels(model: Model) -> None:
    tokens = model.encode(pictures(model, 5))
    assert (tokens.dtype, tuple(tokens.shape)) == (torch.int64, (5, *model.levels.shape))
    assert ((tokens >= 0) & (tokens < torch.from_numpy(model.levels))).all()
    assert len(tokens.flatten(1).unique(dim=0)) == 5, "pictures are told apart"


def test_decode_gives_pictures(model: Model) -> None:
    size = model.config.size
    drawn = model.decode(model.encode(pictures(model, 3)))
    assert (drawn.dtype, tuple(drawn.shape)) == (torch.uint8, (3, 3, size, size))
    assert not torch.equal(drawn[0], drawn[1])


def test_a_grid_of_tokens_has_its_place_in_the_picture() -> None:
    model = tiny_model("tiny-grid")
    assert isinstance(model, GridVQVAE)
    assert model.levels.shape == (16, 16)
    tokens = model.encode(pictures(model, 1))
    other = tokens.clone()
    other[0, 0, 15] = (other[0, 0, 15] + 1) % 16
    changed = (model.decode(other) != model.decode(tokens))[0].any(0).nonzero()
    assert len(changed), "the picture changes"
    assert changed[:, 0].max() < 32, "at the top"
    assert changed[:, 1].min() >= 32, "and to the right"


def test_tokens_do_not_depend_on_the_batch(model: Model) -> None:
    batch = pictures(model, 8)
    together = model.encode(batch)
    alone = torch.cat([model.encode(picture[None]) for picture in batch])
    assert torch.equal(together, alone)


def test_forward_is_for_training(model: Model) -> None:
    size = model.config.size
    x = to_signal(pictures(model, 4))
    out = model(x, torch.randn(4, 24)) if isinstance(model.config, VAEConfig) else model(x)
    assert out.picture_BCHW.shape == (4, 3, size, size)
    out.picture_BCHW.square().mean().backward()
    learning = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith(("encoder.mixer", "encoder.0")) for name in learning), "gradients pass the quantiser"
    assert any(name.startswith("decoder.") for name in learning)
    for name, p in model.named_parameters():
        assert p.requires_grad or name not in learning
    model.zero_grad()


def test_kl_of_the_prior_itself_is_nothing() -> None:
    model = tiny_model("tiny-vae")
    with torch.no_grad():
        out = model(to_signal(pictures(model, 2)), torch.randn(2, 24))
    still = out._replace(mean_BL=torch.zeros(2, 24), logvar_L=torch.zeros(24))
    assert still.kl.item() == 0
    # KL(N(1, 1) || N(0, 1)) is half a nat for each latent.
    assert still._replace(mean_BL=torch.ones(2, 24)).kl.item() == pytest.approx(12)


def test_encoder_quantisers_and_decoder_work_alone() -> None:
    torch.manual_seed(0)
    latents = [12, 4]
    z = Encoder(size=64, patch=8, bands=6, latents=latents, width=8, depth=1)(torch.rand(3, 3, 64, 64) * 2 - 1)
    assert z.shape == (3, 16)
    vector = VectorQuantiser(tokens=8, codes=4, code_dim=2)
    vector.codebook_TKD.data.normal_()
    scalar = ScalarQuantiser(16)
    scalar.calibrate(torch.randn(64, 16), torch.ones(16), bits=32)
    decoder = Decoder(size=64, patch=8, bands=6, latents=latents, width=8, depth=1, refine=4)
    for quantiser in (vector, scalar):
        values = quantiser.values(quantiser.tokens(z))
        assert values.shape == z.shape
        assert decoder(values).shape == (3, 3, 64, 64)


def test_networks_start_as_the_linear_codec() -> None:
    """Every network is a residual whose last layer is zero: a new decoder is linear in its latents."""
    decoder = Decoder(size=64, patch=16, bands=8, latents=[20, 4], width=8, depth=2, refine=4)
    a, b = torch.randn(2, 24), torch.randn(2, 24)
    with torch.no_grad():
        middle = (decoder(a) + decoder(b)) / 2
        torch.testing.assert_close(decoder((a + b) / 2), middle, rtol=0, atol=1e-5)


def test_the_order_of_latents_is_undone_by_the_decoder() -> None:
    decoder = Decoder(size=64, patch=16, bands=8, latents=[20, 4], width=8, depth=1, refine=4)
    z, order = torch.randn(2, 24), torch.randperm(24)
    with torch.no_grad():
        plain = decoder(z)
        decoder.order_L.copy_(order)
        torch.testing.assert_close(decoder(z[:, order]), plain)


def test_patches_are_squares_row_by_row() -> None:
    x = torch.arange(3 * 4 * 4, dtype=torch.float32).reshape(1, 3, 4, 4)
    cut = patches(x, 2)
    assert cut.shape == (1, 4, 12)
    assert torch.equal(cut[0, 1].reshape(3, 2, 2), x[0, :, :2, 2:])


def test_pixels_survive_the_way_through_signals() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    signal = to_signal(pixels)
    assert (signal.min().item(), signal.max().item()) == (-1, 1)
    assert torch.equal(to_pixels(signal), pixels)
    assert to_pixels(torch.tensor([-9.0, 9.0])).tolist() == [0, 255]


def test_an_encoder_leaves_out_a_mixer_that_learnt_nothing() -> None:
    encoder = Encoder(64, 16, 16, (8, 4), 8, 1).eval()
    x_BCHW = to_signal(torch.randint(0, 256, (3, 3, 64, 64), generator=torch.manual_seed(1)))
    with torch.no_grad():
        before_BL = encoder(x_BCHW)
        encoder.drop_idle()
        assert torch.equal(encoder(x_BCHW), before_BL)
    assert isinstance(encoder.mixer, nn.Identity)


def test_an_encoder_keeps_a_mixer_that_learnt() -> None:
    encoder = Encoder(64, 16, 16, (8, 4), 8, 1)
    assert isinstance(encoder.mixer, Mixer)
    nn.init.ones_(encoder.mixer.head.bias)
    encoder.drop_idle()
    assert isinstance(encoder.mixer, Mixer)
