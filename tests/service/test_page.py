"""The files of the web page over HTTP; ``tests/page`` looks at it in a browser."""

import re

import httpx
import pytest

from app.page import FOLDER
from tests.service.server import Server, problem

FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in {".css", ".js", ".svg"})


def test_the_page_may_run_its_own_scripts_and_nothing_else(api: httpx.Client) -> None:
    page = api.get("/")
    assert page.status_code == 200
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    for kind in ("script-src", "style-src", "connect-src"):
        assert policy[kind] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert page.headers["Permissions-Policy"].startswith("camera=(self), microphone=()")
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=|https?:", page.text)


@pytest.mark.parametrize("name", FILES)
def test_its_files_are_asked_for_each_time_and_sent_once(api: httpx.Client, name: str) -> None:
    whole = api.get(f"/page/{name}")
    assert whole.status_code == 200
    assert whole.content == (FOLDER / name).read_bytes()
    assert whole.headers["Cache-Control"] == "no-cache"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    kind = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}[name.rpartition(".")[2]]
    assert whole.headers["Content-Type"].startswith(kind)
    again = api.get(f"/page/{name}", headers={"If-None-Match": whole.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == whole.headers["ETag"]


def test_other_names_and_methods(api: httpx.Client, server: Server) -> None:
    for name in ("index.htm", "__init__.py", "..%2Fmain.py", "nothing.js"):
        problem(api.get(f"/page/{name}"), "not-found", 404)
    assert problem(api.post("/", content=b"x"), "method-not-allowed", 405)
    assert problem(api.put("/page/main.js", content=b"x"), "method-not-allowed", 405)
    routes = {labels["route"] for labels in server.labels("cameo_requests_total")}
    assert {route for route in routes if route.startswith("/page")} <= {"/page/{name}"}


def test_modules_import_only_what_is_there() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text("utf-8")
        for imported in re.findall(r'^import .* from "(.+)";$', text, re.MULTILINE):
            assert imported.removeprefix("./") in FILES, f"{name} imports {imported}"
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
