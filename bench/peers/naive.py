"""FastAPI with ``async def``: everything in the handler, on the event loop. What tutorials show first."""

import uvicorn
from fastapi import FastAPI, Request, Response

from bench.peers.pipeline import HOST, PAYLOAD, PORT, Pipeline

app = FastAPI()
pipeline = Pipeline()


@app.post("/compress")
async def compress(request: Request, frame: str = "auto") -> Response:
    return Response(pipeline.compress(await request.body(), frame), media_type=PAYLOAD)


@app.post("/reconstruct")
async def reconstruct(request: Request) -> Response:
    return Response(pipeline.reconstruct(await request.body()), media_type="image/png")


@app.get("/readyz")
async def ready() -> dict[str, bool]:
    return {"ready": True}


if __name__ == "__main__":
    uvicorn.run(app, host=HOST, port=PORT, access_log=False)
