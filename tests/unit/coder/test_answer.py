"""A version whose files are as published, and whose model is no good."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cameo.coder.answer import synthetic_picture
from cameo.coder.coder import Coder, load_model
from cameo.nn import Model
from cameo.store.manifest import KnownAnswer
from cameo.store.reader import StoredVersion
from tests.tiny import publish_tiny

CPU = torch.device("cpu")
NAMES = ["tiny-vae", "tiny-vqvae", "tiny-progressive"]


def reads(stored: StoredVersion, **changes: object) -> StoredVersion:
    manifest = stored.manifest.model_copy(update=changes)
    return StoredVersion(manifest, stored.folder, stored.digest, stored.tag, stored.weights)


def fill(part: str, value: float) -> Callable[[Model], None]:
    """Spoil every matrix of the encoder or the decoder."""

    def spoil(model: Model) -> None:
        for parameter in getattr(model, part).parameters():
            if parameter.dim() > 1:
                parameter.data.fill_(value)

    return spoil


def test_the_picture_is_made_of_integers_alone() -> None:
    picture = synthetic_picture(64)
    assert picture.shape == (64, 64, 3)
    assert [int(picture[..., channel].astype(int).sum()) for channel in range(3)] == [619680, 619683, 633605]


@pytest.mark.parametrize("name", NAMES)
def test_a_good_model_gives_its_answer(name: str, tmp_path: Path) -> None:
    stored = publish_tiny(tmp_path / "store", name)
    assert stored.manifest.known_answer
    Coder(stored, CPU)
    Coder(stored, CPU, "torch")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_another_model_does_not(name: str, part: str, tmp_path: Path) -> None:
    stored = publish_tiny(tmp_path / "store", name, spoil=fill(part, 0.5))
    with pytest.raises(ValueError, match="does not give its known answer"):
        Coder(stored, CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(value: float, tmp_path: Path) -> None:
    stored = publish_tiny(tmp_path / "store", "tiny-vae", spoil=fill("decoder", value))
    with pytest.raises(ValueError, match=r"the weights decoder\..* are not finite"):
        Coder(reads(stored, known_answer=None), CPU)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_outputs_that_are_not_finite(part: str, tmp_path: Path) -> None:
    stored = publish_tiny(tmp_path / "store", "tiny-vae", spoil=fill(part, 3e38))
    with pytest.raises(ValueError, match=f"its {part} gives what is not finite"):
        Coder(reads(stored, known_answer=None), CPU)


def test_an_answer_of_another_model(tmp_path: Path) -> None:
    stored = publish_tiny(tmp_path / "store", "tiny-vae")
    wrong = KnownAnswer(body="00", picture="00" * 192)
    with pytest.raises(ValueError, match="the manifest's known answer cannot be read"):
        Coder(reads(stored, known_answer=wrong), CPU)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("width", 4096, "the weights are not the model's"),
        ("width", 10**9, "a whole number from 1 to 65536"),
        ("depth", 10**6, "a whole number from 1 to 64"),
    ],
)
def test_a_model_is_compared_with_its_weights_before_it_is_built(
    key: str, value: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = publish_tiny(tmp_path / "store", "tiny-vae")
    model = stored.manifest.model | {key: value}
    largest = 0
    allocate = torch.empty

    def measured(*size: int, **options: object) -> torch.Tensor:
        nonlocal largest
        made: torch.Tensor = allocate(*size, **options)  # type: ignore[call-overload]
        if made.device.type != "meta":
            largest = max(largest, made.numel())
        return made

    monkeypatch.setattr(torch, "empty", measured)
    with pytest.raises(ValueError, match=said):
        load_model(reads(stored, model=model))
    assert largest < 10**6
