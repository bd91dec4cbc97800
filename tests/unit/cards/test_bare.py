"""A QR code of a payload alone."""

import re

import base45
import numpy as np
import pytest
import zxingcpp
from PIL import Image

from cameo.cards import bare_qr
from cameo.errors import CardTooLarge


def drawn(svg: bytes) -> Image.Image:
    """An SVG of segno as a picture: black lines, each a row of modules, of relative moves."""
    found = re.search(rb'viewBox="0 0 (\d+) \d+".*stroke="#000" d="([^"]+)"', svg)
    assert found
    modules = np.full((int(found[1]),) * 2, 255, np.uint8)
    x, y = 0.0, 0.0
    for kind, *numbers in re.findall(r"([Mmh])(-?[\d.]+)(?:[ ]?(-?[\d.]+))?", found[2].decode()):
        step = [float(number) for number in numbers if number]
        if kind == "h":
            modules[int(y), int(x) : int(x + step[0])] = 0
            x += step[0]
        else:
            x, y = step if kind == "M" else (x + step[0], y + step[1])
    return Image.fromarray(modules.repeat(6, 0).repeat(6, 1))


@pytest.mark.parametrize("size", [32, 96, 320, 1028])
def test_it_holds_the_payload(size: int) -> None:
    payload = np.random.default_rng(size).bytes(size)
    [code] = zxingcpp.read_barcodes(drawn(bare_qr(payload)))
    assert base45.b45decode(code.text) == payload


def test_what_no_code_holds_is_refused() -> None:
    with pytest.raises(CardTooLarge, match="2261 bytes"):
        bare_qr(bytes(2261))
    assert bare_qr(bytes(2260)).startswith(b"<?xml")
