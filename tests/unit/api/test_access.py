import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.api.access import LOOK_SECONDS, Access, Bucket, Key, Keys, charge, make, parse, require_keys
from app.api.problems import problem
from app.config import Settings
from app.observe.metrics import Metrics
from cameo.errors import RateLimited
from cameo.jobs import Timings

A, B = "a" * 64, "b" * 64


class Clock:
    """Seconds that go on when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_keys_file() -> None:
    text = f"# ours\n\nprinter {A} 60\ndesk-2 {B.upper()} # the second desk\n"
    assert parse(text, 5) == {A: Key("printer", 60), B: Key("desk-2", 5)}


def test_one_name_may_have_several_keys() -> None:
    assert set(parse(f"printer {A}\nprinter {B}\n", 0).values()) == {Key("printer", 0)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no keys"),
        ("# nobody yet\n", "no keys"),
        (f"printer {A}\nprinter\n", "line 2 "),
        (f"printer {A[:-1]}\n", "line 1 "),
        (f"printer {A} many\n", "line 1 "),
        (f"printer {A} -1\n", "line 1 "),
        (f"../x {A}\n", "line 1 "),
        (f"{'n' * 65} {A}\n", "line 1 "),
        (f"printer {A}\ndesk {A}\n", "line 2 .*earlier"),
        (f"printer {A} 5\nprinter {B} 6\n", "line 2 .*printer another number"),
    ],
)
def test_a_broken_keys_file(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(text, 0)


def test_a_secret_in_the_file_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="line 1") as caught:
        parse("printer cameo_hunter2\n", 0)
    assert "hunter2" not in str(caught.value)


def test_a_key_is_found_by_its_secret(tmp_path: Path) -> None:
    (first, line), (second, limited) = make("printer"), make("desk", 60)
    assert first != second
    path = tmp_path / "keys"
    path.write_text(f"{line}\n{limited}\n")
    keys = Keys(path, 7, Metrics())
    assert first not in path.read_text()
    assert keys.find(first) == Key("printer", 7)
    assert keys.find(second) == Key("desk", 60)
    assert keys.find(first[:-1]) is keys.find("") is keys.find("né") is None
    assert keys.find(line.split()[1]) is None, "the hash is no key"


def test_a_name_that_no_line_has() -> None:
    with pytest.raises(ValueError, match="'a b' is not a valid name"):
        make("a b")


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"CAMEO_KEYS=.*keys cannot be read: No such file"):
        Keys(tmp_path / "keys", 0, Metrics())


def test_keys_follow_the_file(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    (old, old_line), (new, new_line) = make("printer", 1), make("printer", 1)
    path, metrics = tmp_path / "keys", Metrics()
    path.write_text(old_line)
    keys = Keys(path, 0, metrics, clock)

    def broken() -> float | None:
        return metrics.registry.get_sample_value("cameo_keys_file_broken")

    def valid() -> list[bool]:
        clock.now += LOOK_SECONDS
        return [keys.find(secret) is not None for secret in (old, new)]

    assert keys.wait(Key("printer", 1)) == 0
    path.write_text(f"{old_line}\n{new_line}")
    assert keys.find(new) is None, "nobody looks that often"
    assert valid() == [True, True]
    assert keys.wait(Key("printer", 1)) > 0, "a change of the file gives nobody new requests"

    caplog.clear()
    path.write_text("half a li")
    assert valid() == valid() == [True, True]
    path.unlink()
    assert valid() == valid() == [True, True]
    path.write_bytes(b"\xff\xfe")
    assert valid() == [True, True]
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3, "each is said once"
    assert broken() == 1

    replacement = tmp_path / "keys.new"
    replacement.write_text(new_line)
    replacement.replace(path)
    assert valid() == [False, True]
    assert broken() == 0


def test_buckets_go_with_their_keys(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "keys"
    path.write_text(f"printer {A} 1\ndesk {B} 1\n")
    keys = Keys(path, 0, Metrics(), clock)
    assert keys.wait(Key("printer", 1)) == keys.wait(Key("desk", 1)) == 0
    path.write_text(f"desk {B} 120\n")
    clock.now += LOOK_SECONDS
    keys.find("")
    assert keys._buckets.keys() == {"desk"}
    assert keys.wait(Key("desk", 120)) == 0, "the new number holds at once"


def test_a_bucket() -> None:
    assert Bucket(3, 0.0).take(0.0, 3) == 0
    bucket = Bucket(3, 0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(0.0) == pytest.approx(20)
    assert bucket.take(15.0) == pytest.approx(5), "who asks too early waits no longer for it"
    assert bucket.take(20.1) == 0
    assert bucket.take(10_000.0) == bucket.take(10_000.0) == bucket.take(10_000.0) == 0
    assert bucket.take(10_000.0) > 0, "it holds no more than a minute's requests"


@pytest.fixture
def guarded(tmp_path: Path, clock: Clock) -> tuple[Starlette, Metrics, str]:
    async def name(request: Request) -> Response:
        return PlainTextResponse(getattr(request.state, "key", "nobody"))

    secret, line = make("printer", 2)
    (tmp_path / "keys").write_text(line)
    metrics = Metrics()

    async def batch(request: Request) -> Response:
        """Refused with the status that is asked for, or counted as so many."""
        query = request.query_params
        try:
            charge(request, int(query.get("items", 1)))
        except RateLimited as error:
            return problem(request, error)
        if "worked" in query:
            request.state.timings = Timings()
            request.state.timings.add("decode", 0.1)
        return Response(status_code=int(query.get("status", 200)))

    app = Starlette(routes=[Route("/compress", name), Route("/livez", name), Route("/batch", batch)])
    app.add_middleware(Access, keys=Keys(tmp_path / "keys", 0, metrics, clock), metrics=metrics)
    return app, metrics, secret


def ask(app: Starlette, path: str, headers: dict[str, str]) -> httpx.Response:
    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(get())


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer {}"}, {"Authorization": "bearer  {}"}, {"X-Api-Key": "{}"},
                {"Authorization": "Basic eDp5", "X-Api-Key": "{}"}],
)  # fmt: skip
def test_a_key_in_any_form(guarded: tuple[Starlette, Metrics, str], headers: dict[str, str]) -> None:
    app, _, secret = guarded
    assert ask(app, "/compress", {name: value.format(secret) for name, value in headers.items()}).text == "printer"


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer no"}, {"X-Api-Key": ""},
     {"X-Api-Key": "no"}, {"Authorization": "Basic eDp5"}],
)  # fmt: skip
def test_no_key(guarded: tuple[Starlette, Metrics, str], headers: dict[str, str]) -> None:
    app, metrics, _ = guarded
    answer = ask(app, "/compress", headers)
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:cameo:problem:unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert counted(metrics, key="", outcome="unauthorized") == 1


def test_probes_need_no_key(guarded: tuple[Starlette, Metrics, str]) -> None:
    app, metrics, _ = guarded
    assert ask(app, "/livez", {}).text == "nobody"
    assert counted(metrics, key="", outcome="unauthorized") is None
    assert ask(app, "/livez/", {}).status_code == 401


def test_too_many_requests(guarded: tuple[Starlette, Metrics, str], clock: Clock) -> None:
    app, metrics, secret = guarded
    headers = {"X-Api-Key": secret}
    assert [ask(app, "/compress", headers).status_code for _ in range(3)] == [200, 200, 429]
    clock.now += 3.5
    answer = ask(app, "/compress", headers)
    body: dict[str, Any] = answer.json()
    assert (body["type"], body["limit"], body["key"]) == ("urn:cameo:problem:rate-limited", 2, "printer")
    assert answer.headers["Retry-After"] == "27"
    assert "27 s" in body["detail"]
    clock.now += 27
    assert ask(app, "/compress", headers).status_code == 200
    assert counted(metrics, key="printer", outcome="accepted") == 3
    assert counted(metrics, key="printer", outcome="rate-limited") == 2


def test_a_batch_counts_as_its_items(guarded: tuple[Starlette, Metrics, str], clock: Clock) -> None:
    app, metrics, secret = guarded
    headers = {"X-Api-Key": secret}
    assert ask(app, "/batch?items=2", headers).status_code == 200
    assert ask(app, "/compress", headers).status_code == 429
    clock.now += 60
    answer = ask(app, "/batch?items=3", headers)
    assert (answer.status_code, answer.json()["count"], answer.json()["limit"]) == (429, 3, 2)
    assert "Retry-After" not in answer.headers, "it never fits"
    assert ask(app, "/compress", headers).status_code == 200
    assert ask(app, "/compress", headers).status_code == 429, "the batch was read, and counts as one"
    assert counted(metrics, key="printer", outcome="rate-limited") == 3


@pytest.mark.parametrize("status", [429, 503, 504])
def test_what_is_refused_before_work_does_not_count(guarded: tuple[Starlette, Metrics, str], status: int) -> None:
    app, _, secret = guarded
    headers = {"X-Api-Key": secret}
    for _ in range(5):
        assert ask(app, f"/batch?status={status}&items=2", headers).status_code == status
    assert ask(app, f"/batch?status={status}&items=2&worked=1", headers).status_code == status
    assert ask(app, "/compress", headers).status_code == 429


def counted(metrics: Metrics, **labels: str) -> float | None:
    return metrics.registry.get_sample_value("cameo_key_requests_total", labels)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_no_keys_are_needed_on_loopback(host: str) -> None:
    require_keys(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.7", "cameo.example", "localhost.example"])  # noqa: S104
def test_keys_are_needed_elsewhere(host: str) -> None:
    with pytest.raises(ValueError, match="CAMEO_KEYS"):
        require_keys(Settings(host=host))
    require_keys(Settings(host=host, open=True))
    require_keys(Settings(host=host, keys=Path("keys")))
