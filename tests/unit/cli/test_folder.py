"""Many photos to a table: each once, in order, and after an end in the middle as if there had been none."""

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import cameo
from cameo.cli.folder import job, photos
from tests.service.pictures import FACE, PHOTO, landscape, png
from tests.unit.cli.conftest import SETTINGS, Run

OPTIONS = ("--frame", "asis", "--effort", "fast")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six photos, one of them twice, and what is none."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    for i in range(5):
        (root / f"{i}.png").write_bytes(png(FACE.rotate(3 * i)))
    (root / "more" / "again.png").write_bytes((root / "2.png").read_bytes())
    (root / "more" / "broken.png").write_bytes(PHOTO[:1000])
    (root / ".DS_Store").write_bytes(b"junk")
    (root / "Thumbs.db").write_bytes(b"junk")
    return root


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text("utf-8").splitlines()]


def leftovers() -> list[str]:
    return [path.name for path in Path().iterdir() if path.suffix in {".journal", ".partial", ".lock"}]


def test_a_table_has_a_row_for_each_photo_in_order(run: Run, folder: Path, tiny_store: Path) -> None:
    done = run("compress", "photos", "-o", "faces.jsonl", *OPTIONS)
    assert done.exit_code == 1, "one is broken"
    assert "6 of 7 photos" in done.stderr
    table = rows("faces.jsonl")
    names = ["0.png", "1.png", "2.png", "3.png", "4.png", "more/again.png", "more/broken.png"]
    assert [row["path"] for row in table] == [f"photos/{name}" for name in names]
    assert all(row["id"] == hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest() for row in table)
    with cameo.open(tiny_store, device="cpu") as c:
        for row in table[:-1]:
            face = c.compress(row["path"], frame="asis", effort="fast")
            assert base64.b64decode(row["payload"]) == face.payload
            assert (row["model"], row["version"], row["error"]) == (face.model, face.version, None)
    assert table[-1]["error"].startswith("truncated-image: ")
    assert table[-1]["payload"] is None
    assert leftovers() == []


def test_parquet_and_lines_on_stdout_say_the_same(run: Run, folder: Path) -> None:
    run("batch", "photos", "-o", "faces.jsonl", *OPTIONS)
    table = rows("faces.jsonl")
    assert [json.loads(line) for line in run("batch", "photos", "--json", *OPTIONS).stdout.splitlines()] == table
    assert run("batch", "photos", "-o", "faces.parquet", *OPTIONS).exit_code == 1
    first = Path("faces.parquet").read_bytes()
    binary = pyarrow.parquet.read_table("faces.parquet").to_pylist()
    for row, other in zip(table, binary, strict=True):
        assert other["payload"] == (None if row["payload"] is None else base64.b64decode(row["payload"]))
        assert {k: row[k] for k in ("id", "path", "model", "error")} == {
            k: other[k] for k in ("id", "path", "model", "error")
        }
        assert (other["frame"] is None) == (row["frame"] is None)
    run("batch", "photos", "-o", "faces.parquet", *OPTIONS)
    assert Path("faces.parquet").read_bytes() == first


class Counting:
    """The library; counts what it is asked for, and fails after so many."""

    def __init__(self, inner: cameo.Cameo, most: int | None = None) -> None:
        self._inner, self._most = inner, most
        self.asked = 0

    def compress_many(self, data: Any, **settings: Any) -> Iterator[Any]:
        def counted() -> Iterator[Any]:
            for each in data:
                self.asked += 1
                yield each

        for done, result in enumerate(self._inner.compress_many(counted(), threads=1, **settings)):
            if done == self._most:
                raise KeyboardInterrupt
            yield result


def carry_out(source: Any, target: str = "faces.jsonl", **settings: Any) -> tuple[int, int]:
    paths = photos.find(["photos"])
    seen = 0

    def count(done: int) -> None:
        nonlocal seen
        seen += done

    summary = job.run(source, paths, SETTINGS | settings, Path(target), count)
    assert seen == len(paths)
    return summary


def test_a_job_that_ended_in_the_middle_goes_on(here: cameo.Cameo, folder: Path) -> None:
    assert carry_out(Counting(here), "whole.jsonl") == (6, 1)
    first = Counting(here, most=3)
    with pytest.raises(KeyboardInterrupt):
        carry_out(first)
    assert not Path("faces.jsonl").exists()
    second = Counting(here)
    carry_out(second)
    assert second.asked == 3, "six photos that differ, of which three were done"
    assert Path("faces.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    assert leftovers() == []


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_that_was_cut_short_is_done_again(here: cameo.Cameo, folder: Path, cut: int) -> None:
    carry_out(here, "whole.jsonl")
    with pytest.raises(KeyboardInterrupt):
        carry_out(Counting(here, most=3))
    journal = Path("faces.jsonl.journal")
    journal.write_bytes(journal.read_bytes()[:-cut])
    carry_out(here)
    assert Path("faces.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_a_journal_that_was_damaged_is_gone_on_with_up_to_there(here: cameo.Cameo, folder: Path) -> None:
    carry_out(here, "whole.jsonl")
    with pytest.raises(KeyboardInterrupt):
        carry_out(Counting(here, most=3))
    journal = Path("faces.jsonl.journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], bytes(100), b"\n", *lines[3:]]))
    second = Counting(here)
    carry_out(second)
    assert second.asked == 5, "one of six was done"
    assert Path("faces.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_an_end_after_the_last_photo_or_the_rename_does_no_harm(
    here: cameo.Cameo, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(here, "whole.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr("cameo.cli.folder.journal.Journal.remove", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            carry_out(here)
    again = Counting(here)
    carry_out(again)
    assert again.asked == 0
    assert Path("faces.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_a_photo_that_changed_meanwhile_is_done_anew(here: cameo.Cameo, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        carry_out(Counting(here, most=3))
    (folder / "0.png").write_bytes(png(landscape()))
    (folder / "1.png").unlink()
    carry_out(here)
    table = rows("faces.jsonl")
    carry_out(here, "anew.jsonl")
    assert table == rows("anew.jsonl")
    assert [row["path"] for row in table][:2] == ["photos/0.png", "photos/2.png"]


def test_what_may_pass_is_tried_again_in_the_next_run(here: cameo.Cameo, folder: Path) -> None:
    class Busy(Counting):
        def compress_many(self, data: Any, **settings: Any) -> Iterator[Any]:
            for each in super().compress_many(data, **settings):
                yield cameo.errors.DeadlineExceeded("too late") if self.asked == 1 else each

    with pytest.raises(KeyboardInterrupt):
        carry_out(Busy(here, most=3))
    second = Counting(here)
    assert carry_out(second) == (6, 1)


def test_other_settings_are_another_job(here: cameo.Cameo, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        carry_out(Counting(here, most=3), max_bytes=200)
    with pytest.raises(Exception, match="max_bytes 200") as error:
        carry_out(here)
    assert getattr(error.value, "exit_code", None) == 2
    assert carry_out(here, max_bytes=200) == (6, 1)


def test_a_job_goes_on_with_the_version_that_it_began_with(here: cameo.Cameo, folder: Path, tiny_store: Path) -> None:
    class Later(Counting):
        def compress_many(self, data: Any, **settings: Any) -> Iterator[Any]:
            assert (settings["model"], settings["version"]) == ("tiny-vae", 1)
            return super().compress_many(data, **settings)

    with pytest.raises(KeyboardInterrupt):
        carry_out(Counting(here, most=3))
    carry_out(Later(here))


def test_two_jobs_do_not_write_one_target(here: cameo.Cameo, folder: Path) -> None:
    class Nested(Counting):
        def compress_many(self, data: Any, **settings: Any) -> Iterator[Any]:
            with pytest.raises(Exception, match="another job is writing it"):
                carry_out(here)
            return super().compress_many(data, **settings)

    assert carry_out(Nested(here)) == (6, 1)


def test_the_target_may_be_in_the_folder(run: Run, folder: Path) -> None:
    for _ in range(2):
        run("batch", "photos", "-o", "photos/faces.jsonl", *OPTIONS)
        assert len(rows("photos/faces.jsonl")) == 7


def test_names_that_are_no_text(here: cameo.Cameo, folder: Path) -> None:
    name = os.fsencode(folder) + b"/caf\xe9.png"
    try:
        Path(os.fsdecode(name)).write_bytes(PHOTO)
    except OSError:
        pytest.skip("this file system has only names that are UTF-8")
    carry_out(here)
    assert "photos/caf\ufffd.png" in [row["path"] for row in rows("faces.jsonl")]
    carry_out(here, "faces.parquet")
    assert len(pyarrow.parquet.read_table("faces.parquet")) == 8
