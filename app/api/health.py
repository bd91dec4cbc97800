"""``/livez``, ``/readyz`` and ``/metrics``: for orchestrators and Prometheus."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.facts import refused
from app.api.parameters import Route
from app.api.schemas import LiveAnswer, ReadyAnswer
from app.engine.service import Service

router = APIRouter(tags=["operation"], route_class=Route)


@router.get("/livez", operation_id="live", summary="Does the process answer?")
async def live() -> LiveAnswer:
    """Always 200: neither the queue nor the models have a say in it."""
    return LiveAnswer()


@router.get(
    "/readyz",
    operation_id="ready",
    summary="Can it serve, on which device, and why?",
    response_model=ReadyAnswer,
    responses={503: {"model": ReadyAnswer, "description": "Not yet, or not any more; `reason` says why."}},
)
async def readiness(request: Request) -> Response:
    """200 once the models are loaded and warm."""
    service: Service = request.app.state.service
    ready = service.ready and not service.draining
    effort, effort_reason = service.pipeline.usual_effort
    answer = ReadyAnswer(
        ready=ready,
        reason=service.reason,
        device=str(service.device.torch),
        device_reason=service.device.reason,
        workers=service.scheduler.workers,
        effort=effort,
        effort_reason=effort_reason,
        card_issuer=service.issuing.issuer,
        models=[f"{e.stored.manifest.name}/{e.stored.manifest.version}" for e in service.registry.entries],
        refused=refused(service),
        store_problem=service.registry.problem,
    )
    return JSONResponse(answer.model_dump(), 200 if ready else 503)


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Everything measured since the start, by all processes, in the text format."""
    service: Service = request.app.state.service
    return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
