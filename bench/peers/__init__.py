"""Rivals on the same checkpoint, pictures and functions: how one serves a model without Cameo.

Each is ``python -m bench.peers.NAME``, takes CAMEO_STORE, CAMEO_HOST and CAMEO_PORT from the environment, answers 200
at ``GET /readyz`` once its model is loaded, and has two calls:

    POST /compress?frame=auto|asis    a picture in, its payload out, as application/vnd.cameo
    POST /reconstruct                 a payload in, a PNG out

They have what a careful user writes in an afternoon, and no more: no limits, no admission, no versions.
"""

import sys

PEERS: dict[str, list[str]] = {
    "FastAPI async def": [sys.executable, "-m", "bench.peers.naive"],
    "FastAPI def": [sys.executable, "-m", "bench.peers.threads"],
    "LitServe": [sys.executable, "-m", "bench.peers.lit"],
}
