"""A face that tests may use: Eileen Collins by NASA, in the public domain, from the wheel of scikit-image."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@functools.cache
def astronaut() -> NDArray[np.uint8]:
    """Shape (512, 512, 3), RGB, read-only. The eyes are near (203, 104) and (245, 106), 42 px apart."""
    spec = importlib.util.find_spec("skimage")  # located, not imported: only the picture is wanted
    assert spec is not None, "the tests need scikit-image"
    assert spec.submodule_search_locations
    with Image.open(Path(spec.submodule_search_locations[0], "data", "astronaut.png")) as picture:
        pixels = np.array(picture.convert("RGB"))
    pixels.setflags(write=False)
    return pixels
