import json
import logging
import sys
from datetime import datetime, timedelta

from app.observe.logs import JsonFormatter


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("cameo.test", logging.WARNING, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


def test_a_record_is_one_object_in_one_line() -> None:
    line = JsonFormatter().format(record("two\nlines, %s", "é\u2028", fields={"status": 200, "key": "printer"}))
    assert line.isascii()
    assert "\n" not in line
    entry = json.loads(line)
    said = datetime.fromisoformat(entry.pop("time"))
    assert said.utcoffset() == timedelta(0)
    assert entry == {
        "level": "warning", "logger": "cameo.test", "message": "two\nlines, é\u2028", "status": 200, "key": "printer",
    }  # fmt: skip


def test_an_exception_is_a_field() -> None:
    try:
        raise ZeroDivisionError("no")
    except ZeroDivisionError:
        entry = json.loads(JsonFormatter().format(record("failed", exc_info=sys.exc_info())))
    assert entry["message"] == "failed"
    assert entry["exception"].startswith("Traceback")
    assert entry["exception"].endswith("ZeroDivisionError: no")


def test_what_json_cannot_say_is_said_as_text() -> None:
    entry = json.loads(JsonFormatter().format(record("x", fields={"path": {1}})))
    assert entry["path"] == "{1}"
