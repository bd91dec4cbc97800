"""FastAPI with ``def``: the handler runs in the framework's pool of 40 threads. What the documentation advises."""

from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Request, Response

from bench.peers.pipeline import HOST, PAYLOAD, PORT, Pipeline

app = FastAPI()
pipeline = Pipeline()


async def whole_body(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(whole_body)]


@app.post("/compress")
def compress(body: Body, frame: str = "auto") -> Response:
    return Response(pipeline.compress(body, frame), media_type=PAYLOAD)


@app.post("/reconstruct")
def reconstruct(body: Body) -> Response:
    return Response(pipeline.reconstruct(body), media_type="image/png")


@app.get("/readyz")
async def ready() -> dict[str, bool]:
    return {"ready": True}


if __name__ == "__main__":
    uvicorn.run(app, host=HOST, port=PORT, access_log=False)
