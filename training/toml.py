"""TOML files checked against a pydantic model, with errors that say file, line, and what is allowed."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)
Key = tuple[str | int, ...]  # ("model", "latents", 0)

_KINDS = {
    "integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false",
    "array": "a list", "object": "a section",
}  # fmt: skip
_BOUNDS = {
    "minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below",
    "pattern": "in the form",
}  # fmt: skip


def read_toml(path: Path, kind: type[M]) -> M:
    """The file as a ``kind``; types are taken strictly: no number in quotes, no true for a 1.

    ValueError with all that is wrong, one a line: ``recipe.toml:14: losses.mze is unknown; ...``.
    """
    text = _text(path)
    try:
        parsed = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # besides its own, tomllib lets those of int() and of nesting through
        raise ValueError(_syntax(path, text, error)) from error
    try:
        # As JSON, whose lists and texts pydantic also takes for tuples and enums when it is strict.
        return kind.model_validate_json(json.dumps(parsed, default=str), strict=True)
    except ValidationError as error:
        lines, schema = key_lines(text), kind.model_json_schema()
        found = []
        for e in error.errors():
            message = _message(e, schema, kind.__name__.lower())
            # A check of several values begins with the name of the one to change.
            named = tuple(message.split(" ", 1)[0].split("."))
            line = _line(lines, named if named[:1] in lines else e["loc"])
            found.append((line or 0, f"{path}:{line}: {message}" if line else f"{path}: {message}"))
        raise ValueError("\n".join(message for _, message in sorted(found))) from error


def key_lines(text: str) -> dict[Key, int]:
    """The line, from 1, on which the statement stands that makes each key of a valid TOML text.

    Found by parsing the first line, the first two, the first three...: where a key appears that was not there before,
    its statement ends, and it began after the last line at which the text so far was whole. That is quadratic and
    never wrong, and recipes are short.
    """
    lines: dict[Key, int] = {}
    parts, start = text.split("\n"), 1
    for end in range(1, len(parts) + 1):
        try:
            parsed = tomllib.loads("\n".join(parts[:end]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a list or a text over several lines
        for key in _keys(parsed):
            lines.setdefault(key, start)
        start = end + 1
    return lines


def _keys(value: object, key: Key = ()) -> Iterator[Key]:
    if key:
        yield key
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _keys(inner, (*key, name))


def _line(lines: Mapping[Key, int], key: Key) -> int | None:
    """Of the key, or, where the file lacks it, of the section that should have it; None for the file itself."""
    return next((lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in lines), None)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path}: this is a folder; name a TOML file in it") from error
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        wrong = f"byte 0x{data[error.start]:02x}"
        raise ValueError(f"{path}:{line}: not UTF-8 ({wrong}); save the file as UTF-8 text") from error


def _syntax(path: Path, text: str, error: Exception) -> str:
    message = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    if at := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL):
        return f"{path}:{at[2]}: not TOML: {at[1]}, at column {at[3]}"
    if message.endswith(" (at end of document)"):
        line = text.rstrip("\n").count("\n") + 1
        return f"{path}:{line}: not TOML: {message.removesuffix(' (at end of document)')}, at the end of the file"
    return f"{path}: not TOML: {message}"


def _message(error: Mapping[str, Any], schema: Mapping[str, Any], root: str) -> str:
    key: Key = error["loc"]
    name = ".".join(map(str, key))
    if error["type"] == "value_error":  # a sentence of ours
        text = str(error["ctx"]["error"])
        return text if text.startswith(name) else f"{name}: {text}"
    if error["type"] == "extra_forbidden":
        known = _schema(schema, key[:-1]).get("properties", {})
        near = difflib.get_close_matches(str(key[-1]), known, 1)
        hint = f"did you mean {'.'.join(map(str, (*key[:-1], *near)))}? " if near else ""
        return f"{name} is unknown; {hint}{'.'.join(map(str, key[:-1])) or root} takes {', '.join(known)}"
    allowed = _allowed(_schema(schema, key))
    if error["type"] == "missing":
        return f"{name} is missing; it must be {allowed}" if allowed else f"{name} is missing"
    if allowed is None or error["type"] == "finite_number":
        allowed = error["msg"].removeprefix("Input should be ")
    got = json.dumps(error["input"], ensure_ascii=False)
    return f"{name} is {got if len(got) < 60 else got[:56] + ' ...'}; it must be {allowed}"


def _schema(schema: Mapping[str, Any], key: Key) -> Mapping[str, Any]:
    """The part of a JSON schema that describes a key; empty where it says nothing of it."""
    part = schema
    for name in key:
        part = part.get("items" if isinstance(name, int) else "properties", {})
        part = part if isinstance(name, int) else part.get(name, {})
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    return part


def _allowed(part: Mapping[str, Any]) -> str | None:
    """What a part of a JSON schema takes, in words; None where it says too little."""
    if "anyOf" in part:
        return " or ".join(filter(None, map(_allowed, part["anyOf"]))) or None
    if "enum" in part:
        return f"one of {', '.join(map(str, part['enum']))}"
    if part.get("type") not in _KINDS:
        return None
    bounds = [f"{words} {part[bound]}" for bound, words in _BOUNDS.items() if bound in part]
    return _KINDS[part["type"]] + ", " * bool(bounds) + " and ".join(bounds)
