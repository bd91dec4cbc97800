"""The work of every rival: Cameo's functions without its server, and the network in eager torch.

Threads of torch and OpenCV stay as they come, which is one a core, unless a rival says otherwise.
"""

import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.stores import default_version
from cameo import codec
from cameo.faces.framing import Framer, asis
from cameo.nn import build
from cameo.pictures.decode import decode
from cameo.pictures.encode import encode

PAYLOAD = "application/vnd.cameo"
MAX_PIXELS = 50_000_000
HOST, PORT = os.environ.get("CAMEO_HOST", "127.0.0.1"), int(os.environ.get("CAMEO_PORT", "8000"))


class Pipeline:
    """The default version of the store. Each step takes and gives what the next or the one before does."""

    def __init__(self) -> None:
        stored = default_version(Path(os.environ.get("CAMEO_STORE", "model_store")))
        manifest = stored.manifest
        self.model = build(manifest.model)
        self.model.load_state_dict(load_file(stored.weights))
        self.model.eval().requires_grad_(requires_grad=False)
        self._tag, self._size = stored.tag, manifest.portrait
        self._budget = manifest.default_rate or manifest.rates[-1]
        self._coding = self.model.coding()
        self._framer = Framer()

    def portrait(self, upload: bytes, frame: str) -> Tensor:
        """A picture's bytes to a portrait, uint8 of 3 x H x W."""
        image = decode(upload, MAX_PIXELS)
        framed = self._framer.auto(image, self._size) if frame == "auto" else asis(image, self._size)
        return torch.from_numpy(framed.portrait).permute(2, 0, 1)

    def pack(self, tokens: Tensor) -> bytes:
        """A portrait's tokens to its payload."""
        return self._coding.pack(tokens.numpy(), self._tag, self._budget)[0]

    def unpack(self, payload: bytes) -> Tensor:
        """A payload to its tokens."""
        return torch.from_numpy(self._coding.unpack(codec.unwrap(payload)))

    def png(self, pixels: Tensor) -> bytes:
        """A portrait, 3 x H x W, to a PNG."""
        return encode(pixels.permute(1, 2, 0).contiguous().numpy(), "image/png")

    def compress(self, upload: bytes, frame: str) -> bytes:
        """All of it, one at a time."""
        return self.pack(self.model.encode(self.portrait(upload, frame)[None])[0])

    def reconstruct(self, payload: bytes) -> bytes:
        return self.png(self.model.decode(self.unpack(payload)[None])[0])
