"""``GET /models``: what the store holds, with manifests and measured quality."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from app.api.facts import refused
from app.api.parameters import Route
from app.api.problems import responses
from app.api.schemas import ModelInfo, ModelsAnswer, VersionInfo
from app.engine.service import Service
from cameo import errors
from cameo.coder.coder import Coder
from cameo.store import Snapshot

router = APIRouter(tags=["models"], route_class=Route)

ModelName = Annotated[str, Path(description="name of the model", max_length=100)]
ModelVersion = Annotated[int, Path(description="number of the version")]


@router.get(
    "/models",
    operation_id="list_models",
    summary="All models, and the versions that were refused",
    responses=responses(errors.NotReady),
)
async def list_models(request: Request) -> ModelsAnswer:
    """Everything in the store; a version that failed verification is named with its reason."""
    service: Service = request.app.state.service
    service.require_ready()
    store = service.registry.snapshot
    return ModelsAnswer(
        default_model=store.default_model,
        models=[_model(store, name) for name in store.names()],
        refused=refused(service),
        store_problem=service.registry.problem,
    )


@router.get(
    "/models/{name}",
    operation_id="get_model",
    summary="One model with its versions",
    responses=responses(errors.UnknownModel, errors.InvalidParameter, errors.NotReady),
)
async def get_model(request: Request, name: ModelName) -> ModelInfo:
    """The model's versions, which one is the default, and their manifests."""
    service: Service = request.app.state.service
    service.require_ready()
    store = service.registry.snapshot
    store.default(name)  # UnknownModel
    return _model(store, name)


@router.get(
    "/models/{name}/{version}",
    operation_id="get_version",
    summary="One version with its manifest",
    responses=responses(
        errors.UnknownModel, errors.UnknownVersion, errors.RefusedVersion, errors.InvalidParameter, errors.NotReady
    ),
)
async def get_version(request: Request, name: ModelName, version: ModelVersion) -> VersionInfo:
    """The manifest: model configuration, training data and recipe, measured quality, licence."""
    service: Service = request.app.state.service
    service.require_ready()
    return _version(service.registry.snapshot, name, version)


def _model(store: Snapshot[Coder], name: str) -> ModelInfo:
    return ModelInfo(
        name=name,
        default=name == store.default_model,
        default_version=store.default(name),
        versions=[_version(store, name, version) for version in store.versions(name)],
    )


def _version(store: Snapshot[Coder], name: str, version: int) -> VersionInfo:
    entry = store.get(name, version)
    stored = entry.stored
    return VersionInfo(
        name=name,
        version=version,
        digest=stored.digest,
        tag=stored.tag.hex(),
        default=version == store.default(name),
        loaded=entry.loaded,
        manifest=stored.manifest.model_dump(mode="json"),
    )
