"""``cameo.Client`` and ``cameo.AsyncClient`` with real services: the library's results, overload, a sudden end."""

import inspect
import io
import itertools
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

import cameo
from app.api.access import make
from cameo.errors import (
    BodyTooLarge,
    BudgetTooSmall,
    DamagedPayload,
    DeadlineExceeded,
    EmptyPayload,
    InvalidParameter,
    NoFace,
    NotAnImage,
    NotCalibrated,
    Overloaded,
    RateLimited,
    TokenOutOfRange,
    TooManyFaces,
    Unauthorized,
    UnknownModel,
    Unreachable,
)  # fmt: skip
from tests.blocking import CLIENTS
from tests.service.conftest import BODY_LIMIT
from tests.service.pictures import FACE, PHOTO, file, group, landscape, png
from tests.service.server import Server, serve, until


@pytest.fixture(scope="module")
def here(tiny_store: Path) -> Iterator[cameo.Cameo]:
    """The library on the service's store, with its effort."""
    with cameo.open(tiny_store, device="cpu", effort="fast") as opened:
        yield opened


@pytest.fixture(params=CLIENTS, ids=["Client", "AsyncClient"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Any]:
    with request.param(url(server)) as opened:
        yield opened


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def same(one: cameo.Compressed, other: cameo.Compressed) -> None:
    """Figures go over the wire rounded to what means something."""
    assert type(one) is type(other) is cameo.Compressed
    assert (one.model, one.version, one.effort, one.payload) == (
        other.model,
        other.version,
        other.effort,
        other.payload,
    )
    assert (one.tokens.dtype, one.tokens.tolist()) == (other.tokens.dtype, other.tokens.tolist())
    assert one.likeness == pytest.approx(other.likeness, abs=1e-4)
    assert one.warnings == other.warnings
    frames = one.frame, other.frame
    assert [(f.method, f.faces, f.turned) for f in frames] == 2 * [
        (frames[0].method, frames[0].faces, frames[0].turned)
    ]
    assert frames[0].box == pytest.approx(frames[1].box, abs=0.1)
    for mine, its, error in ((frames[0].roll, frames[1].roll, 0.1), (frames[0].score, frames[1].score, 1e-3)):
        assert mine == pytest.approx(its, abs=error)
    landmarks = [f.landmarks for f in frames]
    assert (landmarks[0] is None) == (landmarks[1] is None)
    if landmarks[0] is not None and landmarks[1] is not None:
        np.testing.assert_allclose(landmarks[0], landmarks[1], atol=0.1)


@pytest.mark.parametrize(
    "settings", [{}, {"model": "tiny-progressive", "max_bytes": 48}, {"frame": "asis", "likeness": False}]
)
def test_a_photo_gives_what_the_library_gives(client: Any, here: cameo.Cameo, settings: dict[str, Any]) -> None:
    same(client.compress(PHOTO, **settings), here.compress(PHOTO, **settings))


def test_every_form_of_a_photo_gives_the_same(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)
    photos = [path, str(path), PHOTO, bytearray(PHOTO), io.BytesIO(PHOTO), FACE, np.asarray(FACE)]
    assert len({client.compress(photo, frame="asis").payload for photo in photos}) == 1
    with pytest.raises(FileNotFoundError):
        client.compress(tmp_path / "none.png")
    with pytest.raises(TypeError, match="mode 'rb'"):
        client.compress(io.StringIO("photo"))


def test_faces_come_back(client: Any, here: cameo.Cameo) -> None:
    face = here.compress(PHOTO, model="tiny-progressive")
    drawn = here.reconstruct(face.payload)
    assert client.reconstruct(face.payload).tobytes() == drawn.tobytes()
    tokens = client.reconstruct_tokens(face.tokens, model=face.model, version=face.version)
    assert (tokens.mode, tokens.size, tokens.tobytes()) == (drawn.mode, drawn.size, drawn.tobytes())
    default = here.compress(PHOTO)
    assert client.reconstruct_tokens(default.tokens).tobytes() == here.reconstruct_tokens(default.tokens).tobytes()
    assert client.shorten(face.payload, 40) == here.shorten(face.payload, 40)


def test_a_photo_is_verified_as_by_the_library(client: Any, here: cameo.Cameo) -> None:
    payload = here.compress(PHOTO).payload
    for asked in ({}, {"fmr": 0.01}, {"frame": "asis"}):
        one, other = client.verify(PHOTO, payload, **asked), here.verify(PHOTO, payload, **asked)
        assert type(one) is type(other) is cameo.Verified
        names = ("match", "decision", "threshold", "fmr", "recogniser", "model", "version", "bytes", "warnings", "card")
        assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert one.frame.faces == other.frame.faces
    with pytest.raises(TooManyFaces):
        client.verify(group(), payload, face="only")
    with pytest.raises(NotCalibrated):
        client.verify(PHOTO, here.compress(PHOTO, model="tiny-vqvae").payload)


def test_faces_between_and_of_nobody_are_the_librarys(client: Any, here: cameo.Cameo) -> None:
    ends = [here.compress(PHOTO, model="tiny-vae", frame=frame).payload for frame in ("auto", "asis")]
    for one, other in (
        (client.interpolate(*ends, steps=4), here.interpolate(*ends, steps=4)),
        (client.sample(3, seed=7), here.sample(3, seed=7)),
        (client.sample(1, model="tiny-vae", version=1), here.sample(1, model="tiny-vae", version=1)),
    ):
        assert [face.size for face in one] == [face.size for face in other]
        assert [face.tobytes() for face in one] == [face.tobytes() for face in other]
    with pytest.raises(InvalidParameter, match="no VAE"):
        client.sample(model="tiny-vqvae")
    with pytest.raises(InvalidParameter, match="steps"):
        client.interpolate(*ends, steps=1)


@pytest.mark.parametrize("kind", [cameo.Client, cameo.AsyncClient])
def test_every_call_of_the_library_is_there(kind: type) -> None:
    """With its parameters, in its order; what is for this machine alone is not asked of a service."""
    here_only = {"threads", "key", "issuers", "self"}
    for name, call in inspect.getmembers(cameo.Cameo, inspect.isfunction):
        if name.startswith("_"):
            continue
        other = inspect.signature(getattr(kind, name)).parameters
        wanted = inspect.signature(call).parameters
        missing = {each for each in wanted if each not in other} - here_only
        if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in other.values()):
            hints = [each.annotation for each in other.values() if each.kind is inspect.Parameter.VAR_KEYWORD]
            missing -= get_args(hints[0])[0].__annotations__.keys()
        assert not missing, name


def test_models_are_those_of_the_library(client: Any, here: cameo.Cameo) -> None:
    def facts(models: tuple[cameo.ModelVersion, ...]) -> list[Any]:
        return [(m.name, m.version, m.default, m.portrait, m.rates, m.default_rate, m.manifest) for m in models]

    assert facts(client.models) == facts(here.models)


def test_a_comparison_has_the_rows_of_the_library(client: Any, here: cameo.Cameo) -> None:
    asked: dict[str, Any] = {"models": ["tiny-vae", "tiny-progressive"], "codecs": ["webp"], "max_bytes": [48, 96]}
    there, mine = client.compare(PHOTO, sheet=True, **asked), here.compare(PHOTO, **asked)
    assert type(there) is type(mine)
    assert list(map(len, there.groups)) == list(map(len, mine.groups)) == [2, 2, 2]
    for one, other in zip(there.rows, mine.rows, strict=True):
        names = ("kind", "name", "version", "quality", "side", "beside", "max_bytes", "bytes")
        assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
        assert one.psnr == pytest.approx(other.psnr, abs=1e-3)
        assert one.identity == pytest.approx(other.identity, abs=1e-3)
    assert there.sheet().tobytes() == mine.sheet().tobytes()
    with pytest.raises(ValueError, match="sheet=True"):
        client.compare(PHOTO, models=["tiny-vae"], codecs=[]).sheet()


def test_many_photos_give_what_the_library_gives_with_errors_in_their_places(
    client: Any, here: cameo.Cameo, tmp_path: Path
) -> None:
    photos = [png(FACE.rotate(3 * i)) for i in range(70)]  # more than a batch
    photos[5], photos[69] = b"no picture", png(landscape())
    wanted = list(here.compress_many(photos, on_error="return"))
    mixed = [*photos[:10], tmp_path / "none.png", *photos[10:]]
    got = list(client.compress_many(mixed, on_error="return"))
    assert isinstance(got.pop(10), FileNotFoundError)
    assert len(got) == len(wanted) == 70
    assert (type(got[5]), type(got[69])) == (NotAnImage, NoFace)
    assert str(got[5]) == str(wanted[5])
    for one, other in zip(got, wanted, strict=True):
        if isinstance(one, cameo.Compressed):
            assert isinstance(other, cameo.Compressed)
            same(one, other)
    with pytest.raises(NotAnImage):
        list(client.compress_many(photos[:8]))
    assert list(client.compress_many([])) == []


def test_photos_may_be_endless_and_the_caller_may_leave(client: Any, server: Server) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield PHOTO

    results = client.compress_many(endless(), frame="asis")
    faces = list(itertools.islice(results, 100))
    assert len({face.payload for face in faces}) == 1
    assert taken <= 200
    results.close()
    until(lambda: server.metric("cameo_queue_length") == 0)
    assert client.compress(PHOTO, frame="asis").payload == faces[0].payload


def test_batches_are_made_small_enough_for_the_service(client: Any) -> None:
    """Six photos are more than a body may have; a seventh alone is, too."""
    noise = np.random.default_rng(0).integers(0, 255, (2, 900, 900, 3), np.uint8)
    photo = png(FACE.resize((400, 400))).ljust(BODY_LIMIT // 4, b"\0")
    huge = file(Image.fromarray(noise[0]), "PNG")
    assert len(huge) > BODY_LIMIT
    got = list(client.compress_many([photo] * 6 + [huge, photo], frame="asis", on_error="return"))
    assert [type(each).__name__ for each in got] == ["Compressed"] * 6 + ["BodyTooLarge", "Compressed"]
    assert isinstance(got[6], BodyTooLarge)
    assert got[6].facts["limit"] == BODY_LIMIT


def test_errors_are_those_of_the_library_with_their_facts(client: Any, here: cameo.Cameo) -> None:
    payload = here.compress(PHOTO).payload
    with pytest.raises(DamagedPayload):
        client.reconstruct(payload[:-1] + bytes([payload[-1] ^ 1]))
    with pytest.raises(EmptyPayload):
        client.shorten(b"", 48)
    with pytest.raises(TokenOutOfRange):
        client.reconstruct_tokens(here.compress(PHOTO).tokens + 10_000)
    with pytest.raises(UnknownModel) as unknown:
        client.compress(PHOTO, model="none")
    assert unknown.value.facts["name"] == "none"
    assert len(unknown.value.facts["request_id"]) == 32
    with pytest.raises(UnknownModel):
        list(client.compress_many([PHOTO], model="none", on_error="return"))
    with pytest.raises(BudgetTooSmall) as small:
        client.compress(PHOTO, max_bytes=3)
    with pytest.raises(BudgetTooSmall) as as_small:
        here.compress(PHOTO, max_bytes=3)
    assert str(small.value) == str(as_small.value)
    assert as_small.value.facts.items() <= small.value.facts.items()


def test_a_client_that_is_closed_says_so(client: Any) -> None:
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.compress(PHOTO)


@pytest.mark.parametrize("kind", CLIENTS)
def test_keys(kind: Any, tiny_store: Path, tmp_path: Path) -> None:
    secret, line = make("desk")
    few, limited = make("few", 3)
    (tmp_path / "keys").write_text(f"{line}\n{limited}\n")
    with serve(tmp_path / "log", store=tiny_store, workers=1, keys=tmp_path / "keys") as server:
        server.client.headers["X-Api-Key"] = secret
        with kind(url(server), key=secret) as client:
            assert client.models
        with kind(url(server)) as client, pytest.raises(Unauthorized, match="API key"):
            client.compress(PHOTO)
        with kind(url(server), key=few, timeout=8) as client:
            results = client.compress_many([PHOTO] * 4, frame="asis")
            assert next(results).payload  # a batch of four is never let pass: two are
            with pytest.raises(RateLimited, match="try again") as limited_error:
                list(results)
            assert limited_error.value.facts["retry_after"] > 8, "there is no use in waiting for it"


@pytest.mark.parametrize("kind", CLIENTS)
def test_overload_is_waited_for(kind: Any, tiny_store: Path, tmp_path: Path) -> None:
    """One worker with a short queue refuses some of many; each has its answer in the end, but who cannot wait."""
    slow = file(Image.fromarray(np.random.default_rng(0).integers(0, 255, (3000, 3000, 3), np.uint8)), "JPEG")

    def ask(server: Server, timeout: float) -> object:
        with kind(url(server), timeout=timeout) as client:
            try:
                return client.compress(slow, frame="asis", effort="fast").payload
            except (Overloaded, DeadlineExceeded) as error:
                return error

    with serve(tmp_path / "log", store=tiny_store, workers=1, queue_seconds=0.5, max_body_bytes=2**26) as server:
        with ThreadPoolExecutor(12) as threads:
            patient = list(threads.map(lambda _: ask(server, 300), range(12)))
        assert server.metric("cameo_refused_total", reason="queue") > 0
        assert len(set(patient)) == 1
        assert isinstance(patient[0], bytes)
        with ThreadPoolExecutor(12) as threads:
            hasty = list(threads.map(lambda _: ask(server, 1), range(12)))
        assert any(isinstance(each, Overloaded | DeadlineExceeded) for each in hasty)
        with kind(url(server), timeout=0.001) as client, pytest.raises(DeadlineExceeded) as error:
            client.compress(PHOTO)
        assert error.value.facts["deadline_ms"] == 1, "the service was told"


@pytest.mark.parametrize("kind", CLIENTS)
def test_where_no_service_is_an_error_says_so(kind: Any, server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with kind(f"http://127.0.0.1:{taken.getsockname()[1]}", tries=2) as client:
            with pytest.raises(Unreachable, match="cannot be reached"):
                client.compress(PHOTO)
            with pytest.raises(Unreachable, match="cannot be reached"):
                list(client.compress_many([PHOTO], on_error="return"))
    with kind(url(server) + "/elsewhere") as client, pytest.raises(cameo.CameoError):
        client.compress(PHOTO)
    with pytest.raises(ValueError, match="http://"):
        cameo.Client("127.0.0.1:8000")


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_service_that_is_killed_in_the_middle(kind: Any, tiny_store: Path, tmp_path: Path) -> None:
    def use() -> None:
        with serve(tmp_path / "log", store=tiny_store, workers=1) as server, kind(url(server), tries=2) as client:
            results = client.compress_many(itertools.repeat(PHOTO), on_error="return")
            assert next(results).payload
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            with pytest.raises(Unreachable, match=r"cannot be reached|broke the connection off"):
                list(results)

    with pytest.raises(AssertionError, match="ended with -9"):  # what serve() says of such an end
        use()
