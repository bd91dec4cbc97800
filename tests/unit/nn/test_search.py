"""The search with the real recogniser and the model that is shipped: one of random weights draws no face."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cameo.coder.coder import load_model
from cameo.faces.framing import Framer
from cameo.faces.judge import installed_judge
from cameo.faces.recogniser import SFace
from cameo.nn.blocks import to_pixels, to_signal
from cameo.nn.progressive import Progressive
from cameo.nn.search import LIKENESS, REACH, Search, improve, search_shifts
from cameo.store.reader import read_version
from tests.faces import astronaut

ROOT = Path(__file__).parents[3]
COUNT = 1400


@pytest.fixture(scope="module")
def sface() -> SFace:
    weights = installed_judge()
    assert isinstance(weights, Path)
    return SFace(weights)


@pytest.fixture(scope="module")
def model() -> Progressive:
    newest = max((ROOT / "model_store" / "cameo-128").iterdir(), key=lambda folder: int(folder.name))
    model = load_model(read_version(newest))
    assert isinstance(model, Progressive)
    return model


def loss(model: Progressive, sface: SFace, picture_CHW: torch.Tensor, idx_T: torch.Tensor) -> float:
    """What the search makes smaller, seen through one crop and without blur."""
    x_1CHW = to_signal(picture_CHW[None])
    drawn_1CHW = to_signal(model.decode(idx_T[None, :COUNT]))
    likeness = (sface(drawn_1CHW) * sface(x_1CHW)).sum()
    return float(F.mse_loss(drawn_1CHW, x_1CHW) + LIKENESS * (1 - likeness))


def test_what_is_found_is_likelier_and_no_latent_went_far(model: Progressive, sface: SFace) -> None:
    picture_CHW = portrait(model.config.size)
    idx_1T = model.encode(picture_CHW[None])
    search = Search(model, sface, picture_CHW, lambda _: COUNT)
    torch.testing.assert_close(search.tokens(), idx_1T[0])
    found_T = search.finish()
    assert loss(model, sface, picture_CHW, found_T) < 0.7 * loss(model, sface, picture_CHW, idx_1T[0])

    counts_1 = torch.tensor([COUNT])
    last_L = model.planes.last(counts_1)[0]
    step_L = 2.0 ** (model.config.planes - 1 - last_L)
    before_L, after_L = (model.planes.values(idx_1T[:, :COUNT]), model.planes.values(found_T[None, :COUNT]))
    moved_L = ((after_L - before_L).abs() / step_L)[0]
    assert moved_L[last_L < 0].max() == 0
    # A latent moved by half a step may come to the next value, and from zero to one beside it that lies a bit farther.
    assert 0 < moved_L.max() <= 2 + REACH


def test_it_looks_at_what_the_payload_holds(model: Progressive, sface: SFace) -> None:
    held = iter([COUNT, 300, 300])
    picture_CHW = portrait(model.config.size)
    search = Search(model, sface, picture_CHW, lambda _: next(held))
    search.improve()  # and count again
    before_T = search.tokens()
    search.improve()
    last_L = model.planes.last(torch.tensor([300]))[0]
    moved_L = (model.planes.values(search.tokens()[None]) != model.planes.values(before_T[None]))[0]
    assert moved_L.any()
    assert not moved_L[last_L < 0].any()


def test_a_search_is_the_same_again(model: Progressive, sface: SFace) -> None:
    found = []
    for _ in range(2):
        search = Search(model, sface, portrait(model.config.size), lambda _: COUNT)
        search.improve()
        search.improve()
        found.append(search.tokens())
    assert torch.equal(*found)
    assert all(not p.requires_grad and p.grad is None for p in sface.parameters())


def test_searches_share_a_batch_at_their_own_pace(model: Progressive, sface: SFace) -> None:
    picture_CHW = portrait(model.config.size)

    def begun(rounds: int) -> Search:
        search = Search(model, sface, picture_CHW if rounds else picture_CHW.flip(2), lambda _: COUNT, rounds or 3)
        search.improve()
        return search

    alone, together = ([begun(rounds) for rounds in (2, 5, 0)] for _ in range(2))
    for search in alone:
        search.improve()
    improve(together, rows=4)
    for one, other in zip(alone, together, strict=True):
        # Sums in another order: a latent on the border of two values may fall to either side.
        assert (one.tokens() != other.tokens()).float().mean() < 0.01
    assert not torch.equal(together[0].tokens(), together[1].tokens())


def test_a_batch_of_training_is_searched_as_the_service_does(model: Progressive, sface: SFace) -> None:
    picture_CHW = portrait(model.config.size)
    search = Search(model, sface, picture_CHW, lambda _: COUNT, rounds=3)
    x_BCHW, count_B = to_signal(torch.stack([picture_CHW, picture_CHW.flip(2)])), torch.tensor([COUNT, 300])
    shift_BL = search_shifts(model, sface, x_BCHW, count_B, rounds=3)
    with torch.no_grad():
        out = model(x_BCHW, count_B, shift_BL)
        idx_BT = model.quantise(out.z_BL + shift_BL * out.step_BL)
    assert (search.finish() != idx_BT[0]).float().mean() < 0.01
    drawn_CHW = to_pixels(out.picture_BCHW)[0]
    assert (drawn_CHW.int() - model.decode(idx_BT[:1, :COUNT])[0].int()).abs().max() <= 1


def portrait(size: int) -> torch.Tensor:
    framed = Framer().auto(astronaut(), size)
    return torch.from_numpy(framed.portrait.transpose(2, 0, 1).copy())
