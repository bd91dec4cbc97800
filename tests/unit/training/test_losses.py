from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cameo.nn import build
from cameo.nn.progressive import ProgressiveOutput
from cameo.nn.vae import VAEOutput
from cameo.nn.vqvae import VQVAEOutput
from cameo.pictures.quality import installed_judge
from tests.tiny import PROGRESSIVE
from training.kinds import Kind, kind_named
from training.kinds.progressive import rate
from training.kinds.vqvae import code_terms
from training.losses import RIVALS, CentredRecogniser, Criterion, Networks, contrast
from training.recipe import Losses, Quantiser, Recipe

X = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
NUMBERS = 3 * 64 * 64
MODEL = {
    "kind": "vae", "size": 64, "patch": 16, "bands": 8, "latents": [20, 4], "bits": 64, "width": 8, "depth": 1,
    "refine": 4,
}  # fmt: skip


def recipe(model: dict[str, Any] = MODEL, **losses: float) -> Recipe:
    return Recipe.model_validate(
        {"name": "test", "description": "", "model": model, "optimise": {"steps": 1}, "losses": {"kl": 1} | losses}
    )


def criterion(metric: Tensor | None = None, **losses: float) -> Criterion:
    return Criterion(recipe(MODEL, **losses), metric, Networks(sface=installed_judge()))


def kind(model: dict[str, Any] = MODEL, **losses: float) -> Kind[Any]:
    return kind_named(model)(build(model), recipe(model, **losses))


def vq(picture: Tensor = X + 0.5) -> VQVAEOutput:
    return VQVAEOutput(picture, torch.zeros(2, 4).requires_grad_(), torch.ones(2, 4).requires_grad_(), torch.zeros(2))


def terms(
    loss: Criterion, out: VQVAEOutput, x: Tensor = X, step: int = 0, *, learns_codes: bool = False
) -> dict[str, Tensor]:
    """Of a VQ-VAE at a commitment cost of a quarter."""
    return loss(out.picture_BCHW, x, code_terms(out, NUMBERS, 0.25, learns_codes=learns_codes), step)  # type: ignore[no-any-return]


def test_the_picture_terms_are_means_over_pictures() -> None:
    named = terms(criterion(mse=2.0, l1=3.0), vq())
    assert named["mse"].item() == pytest.approx(2 * 0.25)
    assert named["l1"].item() == pytest.approx(3 * 0.5)


def test_a_term_without_weight_is_not_there() -> None:
    assert set(terms(criterion(mse=0, l1=1), vq())) == {"l1", "commitment"}


def test_commitment_pulls_the_encoder_and_the_codebook_term_the_codes() -> None:
    out = vq()
    named = terms(criterion(), out, learns_codes=True)
    assert named["commitment"].item() == pytest.approx(0.25 * 4 / NUMBERS)
    assert named["codebook"].item() == pytest.approx(4 / NUMBERS)
    named["commitment"].backward()
    assert out.z_BL.grad is not None
    assert out.q_BL.grad is None
    out.z_BL.grad = None
    named["codebook"].backward()
    assert out.z_BL.grad is None
    assert out.q_BL.grad is not None
    assert "codebook" not in terms(criterion(), out), "moving averages need no gradient"


def test_kl_warms_up() -> None:
    out = VAEOutput(X, torch.ones(2, 24), torch.zeros(24))  # half a nat for each latent
    vae = kind(kl=0.5, kl_warmup=10)
    weights = [vae.terms(out, NUMBERS, step)["kl"].item() for step in (0, 4, 9, 100)]
    assert weights == pytest.approx([share * 0.5 * 12 / NUMBERS for share in (0.1, 0.5, 1, 1)])


def test_identity_is_the_quadratic_form_of_its_metric() -> None:
    metric = torch.zeros(2, NUMBERS)
    metric[0, 7], metric[1, 100] = 2.0, 4.0
    named = terms(criterion(metric=metric, identity=0.1), vq())
    assert named["identity"].item() == pytest.approx(0.1 * ((2 * 0.5) ** 2 + (4 * 0.5) ** 2))


def test_identity_is_in_full_precision_whatever_the_rest_is_in() -> None:
    weight, off = 1 + 2**-8, 2**-10  # so that every sum is exact in float32, in whatever order
    metric = torch.full((384, 3 * 128 * 128), weight)
    x = torch.zeros(2, 3, 128, 128)
    out = VQVAEOutput(x + off, *vq()[1:])
    with torch.autocast("cpu", torch.bfloat16):  # the weight is 1 there, and so long a product a crash on some CPUs
        named = terms(criterion(metric=metric, identity=1.0), out, x)
    assert named["identity"].item() == pytest.approx(384 * (weight * off * 3 * 128 * 128) ** 2, rel=1e-4)


def test_likeness_is_nothing_for_the_same_face_and_teaches_otherwise() -> None:
    loss = criterion(likeness=2.0, likeness_faces=1)
    assert terms(loss, vq(X))["likeness"].item() == pytest.approx(0, abs=1e-5)
    picture = (X + 0.3 * torch.randn(X.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    named = terms(loss, vq(picture))
    assert 0 < named["likeness"].item() < 4
    named["likeness"].backward()
    assert picture.grad is not None
    assert picture.grad[0].any()
    assert not picture.grad[1].any(), "only as many faces as asked for"


def test_a_late_term_is_in_the_log_from_the_first_step() -> None:
    loss = criterion(likeness=2.0, late=5)
    picture = (X + 0.3).requires_grad_()
    likeness = [terms(loss, vq(picture), step=step)["likeness"].item() for step in (0, 4, 5)]
    assert likeness[:2] == [0.0, 0.0] < likeness[2:]


def test_the_rate_has_a_price_that_rises_with_the_step() -> None:
    z_BL = torch.tensor([[0.0, 3.0, -8.0, 100.0]])
    step_BL = torch.tensor([[1.0, 1.0, 8.0, 0.0]])  # nothing is known of the last
    out = ProgressiveOutput(X, z_BL, step_BL)
    assert rate(out).item() == pytest.approx(2 + 64 * 1)
    assert kind(PROGRESSIVE, rate=0.5).terms(out, NUMBERS, 0)["rate"].item() == pytest.approx(0.5 * 66 / NUMBERS)


@pytest.mark.parametrize("loss", ["likeness", "perceptual", "lpips"])
def test_missing_weights_are_asked_for(loss: str) -> None:
    recipe = Recipe.model_validate(
        {"name": "test", "description": "", "model": MODEL, "optimise": {"steps": 1}, "losses": {"kl": 1, loss: 1}}
    )
    with pytest.raises(ValueError, match=r"recipe has .*: give the network's weights with --(sface|vgg|lpips) FILE"):
        Criterion(recipe, None, Networks())


def test_perceptual_weights_that_are_not_there(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({
        "name": "test", "description": "", "model": MODEL, "optimise": {"steps": 1},
        "losses": {"kl": 1, "perceptual": 1},
    })  # fmt: skip
    with pytest.raises(FileNotFoundError):
        Criterion(recipe, None, Networks(vgg=tmp_path / "vgg.npz"))


def test_a_picture_term_is_needed() -> None:
    with pytest.raises(ValueError, match="one of them must hold the picture in place"):
        Losses(mse=0, l1=0)
    assert Quantiser().anneal == 0


def test_contrast_is_a_part_of_likeness() -> None:
    with pytest.raises(ValueError, match=r"a part of losses\.likeness, which is 0"):
        Losses(contrast=0.25)


def test_face_features_and_straying_crops_see_what_changed() -> None:
    own = criterion(likeness=1.0, face_features=1.0, likeness_jitter=0.05)
    faces = torch.rand(2, 3, 64, 64) * 2 - 1
    same = terms(own, vq(faces), faces)
    assert same["likeness"].item() == pytest.approx(0, abs=1e-5)
    assert same["face_features"].item() == pytest.approx(0, abs=1e-5)
    other = terms(own, vq(faces.roll(1, 0)), faces)
    assert other["likeness"] > 0.05
    assert other["face_features"] > 0.05
    assert torch.equal(other["likeness"], terms(own, vq(faces.roll(1, 0)), faces)["likeness"]), "a step's crops"
    assert "likeness" not in terms(criterion(face_features=1.0), vq(faces), faces)


def test_contrast_wants_a_face_told_from_others() -> None:
    own, near, far = torch.eye(8)[0], torch.eye(8)[1], torch.eye(8)[2]
    rivals = torch.stack([near, far])
    told = contrast(own[None], own[None], rivals)
    confused = contrast(torch.nn.functional.normalize(own + near, dim=0)[None], own[None], rivals)
    assert told < 0.001 < confused
    # Whoever may be the same person is no rival.
    assert contrast(near[None], near[None], rivals) == pytest.approx(contrast(near[None], near[None], far[None]))


def test_rivals_are_known_before_the_first_step() -> None:
    told = criterion(likeness=1.0, contrast=0.5)
    faces = torch.rand(2, 3, 64, 64) * 2 - 1
    before = terms(told, vq(faces), faces)["likeness"]
    told.centre(torch.rand(5, 3, 64, 64) * 2 - 1)
    (recogniser,) = told.recognisers
    assert isinstance(recogniser, CentredRecogniser)
    assert recogniser.rivals_NE is not None
    assert recogniser.rivals_NE.shape == (5, 128)
    assert recogniser.rivals_NE.mean(0).norm() < 0.1, "what they have in common is left out"
    assert terms(told, vq(faces), faces)["likeness"] >= before
    assert RIVALS > 100
