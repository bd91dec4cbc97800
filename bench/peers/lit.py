"""LitServe with batching: a worker process a core for each call, batches of up to 8 that wait for at most 5 ms.

Each worker has one thread of torch and of OpenCV: with one a core, as they come, the workers would get in each other's
way. Decoding and framing are in ``decode_request``, which LitServe runs in the worker, one picture after another.
"""

from typing import Annotated, Any

import cv2
import litserve
import torch
from fastapi import Depends, Request, Response
from torch import Tensor

from bench.peers.pipeline import HOST, PAYLOAD, PORT, Pipeline
from cameo.coder.cpus import available_cpus

MAX_BATCH, BATCH_WAIT = 8, 0.005  # pictures, seconds


async def upload(request: Request) -> tuple[bytes, str]:
    """The body and the query, in LitServe's main process; workers get what can be pickled."""
    return await request.body(), request.query_params.get("frame", "auto")


Upload = Annotated[tuple[bytes, str], Depends(upload)]


class Batched(litserve.LitAPI):  # type: ignore[misc]
    """What both calls share."""

    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self.pipeline = Pipeline()

    def unbatch(self, output: Tensor) -> list[Tensor]:
        return list(output)


class Compress(Batched):
    def decode_request(self, request: Upload) -> Tensor:
        return self.pipeline.portrait(*request)

    def batch(self, inputs: list[Tensor]) -> Tensor:
        return torch.stack(inputs)

    def predict(self, x: Tensor) -> Tensor:
        return self.pipeline.model.encode(x)

    def encode_response(self, output: Tensor) -> Response:
        return Response(self.pipeline.pack(output), media_type=PAYLOAD)


class Reconstruct(Batched):
    """Payloads of one model can hold different numbers of tokens, and only equal ones make a batch."""

    def decode_request(self, request: Upload) -> Tensor:
        return self.pipeline.unpack(request[0])

    def batch(self, inputs: list[Tensor]) -> list[tuple[list[int], Tensor]]:
        lengths = sorted({len(tokens) for tokens in inputs})
        groups = [[k for k, tokens in enumerate(inputs) if len(tokens) == length] for length in lengths]
        return [(group, torch.stack([inputs[k] for k in group])) for group in groups]

    def predict(self, x: list[tuple[list[int], Tensor]]) -> dict[int, Tensor]:
        drawn: dict[int, Tensor] = {}
        for group, idx in x:
            drawn.update(zip(group, self.pipeline.model.decode(idx), strict=True))
        return drawn

    def unbatch(self, output: Any) -> list[Tensor]:
        return [output[k] for k in range(len(output))]

    def encode_response(self, output: Tensor) -> Response:
        return Response(self.pipeline.png(output), media_type="image/png")


def main() -> None:
    calls = [
        Compress(MAX_BATCH, BATCH_WAIT, api_path="/compress"),
        Reconstruct(MAX_BATCH, BATCH_WAIT, api_path="/reconstruct"),
    ]
    workers = available_cpus()[0]
    server = litserve.LitServer(calls, accelerator="cpu", workers_per_device=workers, healthcheck_path="/readyz")
    server.run(host=HOST, port=PORT, generate_client_file=False, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
