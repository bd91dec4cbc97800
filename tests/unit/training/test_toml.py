"""Errors of TOML files: file, line, what is allowed."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.toml import key_lines, read_toml


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Weights(Section):
    mse: Annotated[float, Field(ge=0, lt=1)] = 0.5
    identity: float = 0.0

    @model_validator(mode="after")
    def _some(self) -> "Weights":
        if not self.mse + self.identity:
            raise ValueError("weights.mse and weights.identity are both 0")
        return self


class Example(Section):
    name: Annotated[str, Field(pattern="^[a-z]+$")]
    steps: Annotated[int, Field(ge=1)] | None = None
    sizes: tuple[int, ...] = ()
    start: Literal["kmeans", "random"] = "random"
    exact: bool = False
    weights: Weights = Weights()

    @model_validator(mode="after")
    def _fits(self) -> "Example":
        if self.name == "forbidden":
            raise ValueError("the example is of no use")
        return self


TAKES = "example takes name, steps, sizes, start, exact, weights"


def errors(tmp_path: Path, text: str | bytes) -> list[str]:
    """What is said of a file, without its path."""
    path = tmp_path / "x.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError, match=r"x\.toml") as caught:
        read_toml(path, Example)
    return [line.removeprefix(str(path)) for line in str(caught.value).split("\n")]


def test_reads_what_is_right(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbfname = 'x'\r\nsizes = [1,\r\n  2]\r\nstart = 'kmeans'\r\n[weights]\r\nmse = 0\r\n"
                     b"identity = 1\r\n")  # fmt: skip
    read = read_toml(path, Example)
    assert read == Example(name="x", sizes=(1, 2), start="kmeans", weights=Weights(mse=0, identity=1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\nstepz = 1", f":3: stepz is unknown; did you mean steps? {TAKES}"),
        ("[wieghts]\nmse = 1", f":2: wieghts is unknown; did you mean weights? {TAKES}"),
        ("\n[weights]\n\nmze = 1", ":5: weights.mze is unknown; did you mean weights.mse? weights takes mse, identity"),
        ("weights.qqqq = 1", ":2: weights.qqqq is unknown; weights takes mse, identity"),
        ("weights = 3", ":2: weights is 3; it must be a section"),
        ("weights = { mse = 0.5, identity = 'much' }", ':2: weights.identity is "much"; it must be a number'),
        ("steps = 0", ":2: steps is 0; it must be a whole number, at least 1"),
        ("steps = '3'", ':2: steps is "3"; it must be a whole number, at least 1'),
        ("steps = 3.0", ":2: steps is 3.0; it must be a whole number, at least 1"),
        ("exact = 1", ":2: exact is 1; it must be true or false"),
        ("[weights]\nmse = true", ":3: weights.mse is true; it must be a number, at least 0 and below 1"),
        ("[weights]\nmse = 1", ":3: weights.mse is 1; it must be a number, at least 0 and below 1"),
        ("[weights]\nidentity = nan", ":3: weights.identity is NaN; it must be a finite number"),
        ("[weights]\nidentity = 2020-02-02", ':3: weights.identity is "2020-02-02"; it must be a number'),
        ("start = 'x'", ':2: start is "x"; it must be one of kmeans, random'),
        ("sizes = 3", ":2: sizes is 3; it must be a list"),
        ("sizes = [\n 1,\n 'b',\n]", ':2: sizes.1 is "b"; it must be a whole number'),
        ("[weights]\nidentity = 0\nmse = 0", ":4: weights.mse and weights.identity are both 0"),
        ("start = '" + 99 * "x" + "'", f':2: start is "{55 * "x"} ...; it must be one of kmeans, random'),
    ],
)  # fmt: skip
def test_says_where_and_what_is_allowed(tmp_path: Path, text: str, expected: str) -> None:
    assert errors(tmp_path, "name = 'x'\n" + text) == [expected]


def test_lists_all_errors_in_the_order_of_the_file(tmp_path: Path) -> None:
    assert errors(tmp_path, "weights.mse = 2\nname = 'X'\nx = 1\nsteps = -1") == [
        ":1: weights.mse is 2; it must be a number, at least 0 and below 1",
        ':2: name is "X"; it must be text, in the form ^[a-z]+$',
        f":3: x is unknown; {TAKES}",
        ":4: steps is -1; it must be a whole number, at least 1",
    ]


def test_what_stands_nowhere_has_no_line(tmp_path: Path) -> None:
    assert errors(tmp_path, "") == [": name is missing; it must be text, in the form ^[a-z]+$"]
    assert errors(tmp_path, "name = 'forbidden'") == [": the example is of no use"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = 'x'\nsteps 3\n", ":2: not TOML: Expected '=' after a key in a key/value pair, at column 7"),
        ("[weights\nmse = 1\n", ":1: not TOML: Expected ']' at the end of a table declaration, at column 9"),
        ("sizes = [1,\n2", ":2: not TOML: Unclosed array, at the end of the file"),
        (b"name = 'x'\n# caf\xe9\n", ":2: not UTF-8 (byte 0xe9); save the file as UTF-8 text"),
        ("x = " + 3000 * "[", ": not TOML: nested too deeply"),
    ],
)
def test_what_is_not_toml(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert errors(tmp_path, text) == [expected]


def test_a_number_that_is_too_long(tmp_path: Path) -> None:
    (message,) = errors(tmp_path, "steps = 1" + 5000 * "0")
    assert message.startswith(": not TOML: Exceeds the limit")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.toml: there is no such file"):
        read_toml(tmp_path / "nowhere.toml", Example)
    with pytest.raises(ValueError, match="this is a folder; name a TOML file in it"):
        read_toml(tmp_path, Example)


VALUES = [
    "1",
    "'#'",
    '"\\""',
    "[]",
    "[[1], [\n[2],\n]]",
    '"""\nx = 1\n[y]\n"""',
    "'''\n'''",
    "{ a = [1,\n2] }",
    "[\n# a\n]",
]
KEYS = ["{}", "'{}'", '"{}"', "deep.{}", "'a b'.{}"]
NOTHING = ["", "# [x]", "  "]


@given(
    st.lists(
        st.one_of(
            st.sampled_from(NOTHING),
            st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)),
            st.sampled_from(["[{}]", "[ {} . '[]' ]", "[s.{}]"]).map(lambda header: (header,)),
        ),
        max_size=12,
    )
)
def test_finds_every_line(statements: list[str | tuple[str, ...]]) -> None:
    text, made = "", []
    for number, statement in enumerate(statements):
        if not isinstance(statement, str):
            made.append((f"k{number}", text.count("\n") + 1))
            statement = " = ".join(statement).replace("{}", f"k{number}", 1)  # noqa: PLW2901
        text += statement + "\n"
    lines = key_lines(text)
    for name, line in made:
        assert {found for key, found in lines.items() if key[-1] == name} == {line}, text
    assert set(lines) == set(_all_keys(tomllib.loads(text)))


def _all_keys(value: object) -> list[tuple[object, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [key for name, inner in items for key in [(name,), *((name, *rest) for rest in _all_keys(inner))]]
