import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cameo import codec
from cameo.coder.coder import Coder, load_model
from cameo.coder.runtime import MOST, PixelDecoder, filled, half_or_full, runtime, samples
from cameo.errors import BudgetTooSmall, TokenOutOfRange, WrongTokenShape
from cameo.nn.blocks import to_pixels
from cameo.store.reader import StoredVersion, read_version
from tests.tiny import PROGRESSIVE_DEFAULT, PROGRESSIVE_RATES

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["tiny-vae", "tiny-vqvae"])
def coder(request: pytest.FixtureRequest, tiny_store: Path) -> Coder:
    return Coder(read_version(tiny_store / request.param / "1"), CPU)


@pytest.fixture(scope="module")
def vqvae(tiny_store: Path) -> Coder:
    return Coder(read_version(tiny_store / "tiny-vqvae" / "1"), CPU)


@pytest.fixture(scope="module")
def progressive(tiny_store: Path) -> Coder:
    return Coder(read_version(tiny_store / "tiny-progressive" / "1"), CPU)


def with_manifest(coder: Coder, **changes: Any) -> StoredVersion:
    s = coder.stored
    return StoredVersion(s.manifest.model_copy(update=changes), s.folder, s.digest, s.tag, s.weights)


def portrait(size: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_a_portrait_becomes_tokens_a_payload_and_a_portrait(coder: Coder) -> None:
    tokens = coder.tokens(portrait(coder.size))
    assert tokens.shape == coder.levels.shape
    assert tokens.dtype == coder.levels.dtype == np.int64
    assert ((tokens >= 0) & (tokens < coder.levels)).all()
    payload = coder.pack(tokens)
    assert (len(payload),) == coder.manifest.rates
    np.testing.assert_array_equal(coder.unpack(codec.unwrap(payload)), tokens, strict=True)
    drawn = coder.reconstruct(tokens)
    assert drawn.shape == (coder.size, coder.size, 3)
    assert drawn.dtype == np.uint8
    assert drawn.flags.c_contiguous


def test_a_version_that_nobody_serves_from_goes_at_once(tiny_store: Path) -> None:
    coder = Coder(read_version(tiny_store / "tiny-progressive" / "1"), CPU)
    parts = [weakref.ref(part) for part in (coder, coder._model, coder.encoding, coder.decoding)]
    assert all(part() is not None for part in parts)
    gc.disable()  # a collection would find cycles, too
    try:
        del coder
        assert all(part() is None for part in parts)
    finally:
        gc.enable()


def test_a_batch_is_filled_up_to_the_same_size() -> None:
    seen = []

    def run(a: Any, b: Any) -> Any:
        seen.append(len(a))
        return a + b

    a, b = np.arange(MOST), 10 * np.arange(MOST)
    for rows in (1, 3, MOST):
        np.testing.assert_array_equal(filled(run)(a[:rows], b[:rows]), 11 * np.arange(rows))
    assert seen == [MOST] * 3


def test_onnx_is_for_cpus(vqvae: Coder) -> None:
    with pytest.raises(ValueError, match="CAMEO_DEVICE=cpu"):
        runtime(load_model(vqvae.stored), torch.device("meta"), "onnx")


def test_half_precision_is_taken_where_pictures_stay_the_same(coder: Coder) -> None:
    model = load_model(coder.stored)
    inputs = samples(model)
    full, half = runtime(model, CPU, "torch").decoder.run, half_or_full(PixelDecoder(model), inputs, CPU)
    off = np.abs(full(*inputs).astype(int) - half(*inputs))
    assert off.max() <= 1
    assert off.any(), "nothing was drawn in half precision"


def test_a_decoder_that_minds_half_precision_draws_in_full() -> None:
    class Touchy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 3)

        def forward(self, z_BL: torch.Tensor) -> torch.Tensor:
            drawn_BC: torch.Tensor = to_pixels(torch.sin(1000 * self.layer(z_BL).float()))
            return drawn_BC

    touchy = Touchy()
    inputs = (np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32),)
    drawn = half_or_full(touchy, inputs, CPU)(*inputs)
    with torch.inference_mode():
        np.testing.assert_array_equal(drawn, touchy(torch.from_numpy(inputs[0])).numpy())


def test_loading_again_gives_the_same(coder: Coder) -> None:
    again = Coder(coder.stored, CPU)
    pixels = portrait(coder.size)
    np.testing.assert_array_equal(again.tokens(pixels), coder.tokens(pixels))
    tokens = coder.tokens(pixels)
    np.testing.assert_array_equal(again.reconstruct(tokens), coder.reconstruct(tokens))


def test_own_tokens_pass_the_check(coder: Coder) -> None:
    tokens = coder.tokens(portrait(coder.size))
    np.testing.assert_array_equal(coder.check(tokens.tolist()), tokens, strict=True)
    np.testing.assert_array_equal(coder.check((coder.levels - 1).tolist()), coder.levels - 1, strict=True)


@pytest.mark.parametrize("nested", [[], [0] * 31, [0] * 33, [[0] * 32], [[0]] * 32, [[0, 0], [0]] * 8, [[]] * 32])
def test_another_shape_is_refused(vqvae: Coder, nested: list[Any]) -> None:
    with pytest.raises(WrongTokenShape) as caught:
        vqvae.check(nested)
    assert caught.value.facts["expected"] == [32]
    assert caught.value.facts["shape"] != [32]


@pytest.mark.parametrize("value", [True, False, 1.0, float("nan"), "1", None, {}, [0, 1]], ids=repr)
def test_what_is_no_whole_number_is_refused(vqvae: Coder, value: object) -> None:
    with pytest.raises(TokenOutOfRange, match="whole number"):
        vqvae.check([0] * 31 + [value])


@pytest.mark.parametrize("value", [-1, 16, 2**63, 2**64, -(2**100)])
def test_a_number_outside_its_codebook_is_refused_as_it_is(vqvae: Coder, value: int) -> None:
    with pytest.raises(TokenOutOfRange, match=rf"^the token at \[3\] is {value}; it must lie in 0 to 15$") as caught:
        vqvae.check([0, 15, 0, value, -1] + [0] * 27)
    assert caught.value.facts == {"position": [3], "value": value, "limit": 15}


def test_one_rate_takes_any_budget_that_it_fits(vqvae: Coder) -> None:
    (rate,) = vqvae.manifest.rates
    tokens = vqvae.tokens(portrait(128))
    assert {vqvae.pack(tokens, max_bytes) for max_bytes in (None, rate, 10**9)} == {vqvae.pack(tokens)}
    with pytest.raises(BudgetTooSmall, match=f"take {rate} bytes at least, max_bytes is {rate - 1}") as caught:
        vqvae.pack(tokens, rate - 1)
    assert caught.value.facts == {"max_bytes": rate - 1, "least": rate}


def test_a_model_with_one_rate_has_no_other_in_its_manifest(vqvae: Coder) -> None:
    (rate,) = vqvae.manifest.rates
    for rates in ((rate - 1, rate), (rate, rate + 1), (rate + 1,)):
        with pytest.raises(ValueError, match=f"payloads have {rate} bytes"):
            Coder(with_manifest(vqvae, rates=rates), CPU)


def test_a_budget_holds_the_first_tokens(progressive: Coder) -> None:
    tokens = progressive.tokens(portrait(64))
    assert tokens.shape == progressive.levels.shape == (2400,)
    for max_bytes in (32, 100, 320):
        payload = progressive.pack(tokens, max_bytes)
        assert max_bytes - 2 <= len(payload) <= max_bytes
        held = progressive.unpack(codec.unwrap(payload))
        np.testing.assert_array_equal(held, tokens[: len(held)], strict=True)
        assert 0 < len(held) < len(tokens)
        assert progressive.reconstruct(held).shape == (64, 64, 3)
        assert progressive.shorten(codec.unwrap(progressive.pack(tokens, 320)), max_bytes) == payload


def test_what_can_be_searched_and_has_several_rates(progressive: Coder, vqvae: Coder) -> None:
    assert progressive.searchable
    assert progressive.coding.several_rates
    assert not vqvae.searchable
    assert not vqvae.coding.several_rates


def test_budgets(progressive: Coder) -> None:
    least, most = PROGRESSIVE_RATES[0], PROGRESSIVE_RATES[-1]
    assert [progressive.budget(n) for n in (least, 33, most, most + 1)] == [least, 33, most, most]
    assert progressive.budget(None) == PROGRESSIVE_DEFAULT
    assert Coder(with_manifest(progressive, default_rate=None), CPU).budget(None) == most
    with pytest.raises(BudgetTooSmall):
        progressive.budget(least - 1)
    with pytest.raises(BudgetTooSmall):
        progressive.shorten(codec.unwrap(progressive.pack(np.zeros(2400, np.int64))), least - 1)


def test_rates_too_small_for_any_payload_are_refused_at_the_start(progressive: Coder) -> None:
    with pytest.raises(ValueError, match="at least 5 bytes"):
        Coder(with_manifest(progressive, rates=(4, 96)), CPU)


@pytest.mark.parametrize("count", [0, 1, 100, 2400])
def test_any_first_tokens_pass_the_check(progressive: Coder, count: int) -> None:
    tokens = progressive.tokens(portrait(64))[:count]
    np.testing.assert_array_equal(progressive.check(tokens.tolist()), tokens, strict=True)


@pytest.mark.parametrize("nested", [[0] * 2401, [[0]], [[]], [[0, 1], [0]], 0])
def test_what_are_no_first_tokens_is_refused(progressive: Coder, nested: Any) -> None:
    with pytest.raises((WrongTokenShape, TokenOutOfRange)):
        progressive.check(nested)


def test_a_refinement_has_two_halves(progressive: Coder) -> None:
    began = [1] + [0] * 159  # the coarsest plane, which every other latent has; the next one has all
    assert len(progressive.check([*began, 1])) == 161
    with pytest.raises(TokenOutOfRange) as caught:
        progressive.check([*began, 2])
    assert caught.value.facts["position"] == [160]
