"""What a kind of model adds to a training run. Every method has a default, so a kind is only what is special to it."""

from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from cameo.nn import Model
from training.data.portraits import Portraits
from training.initialise import STARTERS, latents
from training.losses import Networks
from training.ranks import ALONE, Ranks
from training.recipe import Recipe

M = TypeVar("M", bound=Model)


class Kind(Generic[M]):
    """The steps of one run that depend on the kind of its model, in the order in which the loop calls them.

        initialise   a new run only, on the CPU: fit what is fitted in closed form
        begin        the model is on its device
        before_step, inputs, terms, after_step, figures     every step
        reconstruct  now and then, for the log
        finish       after the last step

    ``model(x_BCHW, *inputs)`` gives an output with ``picture_BCHW``, both pictures in [-1, 1]. What a run has of its
    own beside the model's weights is in the checkpoint by :meth:`state_dict`. Randomness comes from the ``generator``
    of the step alone, so that a resumed run is the same as one that was not stopped.
    """

    default_rate: ClassVar[int | None] = None
    """Bytes of a payload where nobody asks for another number; None for models with one rate."""

    def __init__(self, model: M, recipe: Recipe, ranks: Ranks = ALONE) -> None:
        self.model, self.recipe, self.ranks = model, recipe, ranks

    # Before a run

    @classmethod
    def validate(cls, recipe: Recipe) -> None:
        """ValueError, which begins with the key to change, for a recipe that this kind cannot be trained with."""
        if recipe.quantiser.searched:
            raise ValueError(
                f"quantiser.searched is {recipe.quantiser.searched}, which only a progressive code can use"
            )

    def initialise(self, data: Portraits, metric_RP: Tensor | None) -> None:
        """Fit a new model to training portraits; ``metric_RP`` as :func:`training.initialise.metric` gives it."""

    def begin(self, networks: Networks, device: torch.device) -> None:
        """The model is on the device, with the weights that it starts with."""

    # In every step

    def before_step(self, step: int, steps: int, average: M, data: Portraits) -> None:
        """Before step number ``step`` of ``steps``."""

    def inputs(self, x_BCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """What the model takes besides the pictures, on their device.

        x_BCHW is this process's part of the batch. Draw for the whole batch, then :meth:`share` it: so several
        processes draw what one would.
        """
        return ()

    def share(self, whole: Tensor) -> Tensor:
        """This process's part of something drawn for the whole batch."""
        return whole.tensor_split(self.ranks.world)[self.ranks.rank]

    def terms(self, out: Any, numbers: int, step: int) -> dict[str, Tensor]:
        """Its own terms of the loss, weighted, by name; always the same names. ``numbers`` are those of a picture."""
        return {}

    def after_step(self, out: Any, generator: torch.Generator) -> None:
        """After the optimiser's step; ``out`` is what the model gave before it."""

    def figures(self) -> dict[str, float]:
        """Its own columns of the log."""
        return {}

    # Now and then, and at the end

    def reconstruct(self, average: M, pixels_BCHW: Tensor) -> Tensor:
        """Validation portraits, uint8, through the averaged model as it is by now."""
        return average.decode(average.encode(pixels_BCHW))

    @torch.no_grad()
    def finish(self, average: M, data: Portraits) -> None:
        """Fit the quantiser to the averaged encoder, on training portraits."""
        torch.manual_seed(self.recipe.seed)  # k-means draws
        device = next(average.parameters()).device
        z_ML = latents(average, data, self.recipe.seed, self.fitted_to(data))
        self.fit_quantiser(average.cpu(), z_ML)
        average.to(device)

    def fitted_to(self, data: Portraits) -> int:
        """How many training portraits :meth:`fit_quantiser` sees."""
        return STARTERS

    def fit_quantiser(self, average: M, z_ML: Tensor) -> None:
        """At the end, on the CPU: the latents are those of the averaged encoder."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass

    # What evaluation and publication ask

    @classmethod
    def unfinished(cls, model: M, *, finished: bool) -> str | None:
        """Why a model has no tokens yet, or None. ``finished``: the run has reached its end."""
        return None

    @classmethod
    def rates(cls, model: M) -> tuple[int, ...]:
        """The rates of the manifest, in bytes: what payloads have, or of several rates those that are measured."""
        size = model.coding().payload_bytes
        assert size is not None  # a kind with several rates says which
        return (size,)

    @classmethod
    def alphabet(cls, model: M) -> int | None:
        """How many values a token has, where that is the same for all of them."""
        return None

    @classmethod
    def codebooks(cls, model: M) -> tuple[int, int] | None:
        """How many codebooks, and codes in each, where the use of codes is worth a figure."""
        return None
