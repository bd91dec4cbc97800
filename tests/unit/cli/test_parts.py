"""Photos of many kinds of sources into a folder of Parquet: each once, resumably, one job at a time."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import Result
from pyarrow import parquet

import cameo
from cameo.cli.parts import job, sources
from cameo.cli.parts.job import Done
from cameo.cli.parts.target import Target, alone
from tests.service.pictures import FACE, PHOTO, png
from tests.unit.cli.conftest import SETTINGS, Run

OPTIONS = ("--frame", "asis", "--effort", "fast")
COLUMNS = ["id", "payload", "model", "version", "likeness", "frame", "error"]

FILES = {f"{i}.png": png(FACE.rotate(3 * i)) for i in range(5)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five photos, one of them again, and one that is broken."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    for name, data in FILES.items():
        (root / name).write_bytes(data)
    (root / "more" / "again.png").write_bytes(FILES["2.png"])
    (root / "more" / "broken.png").write_bytes(PHOTO[:1000])
    return root


def table(target: str | Path) -> list[dict[str, Any]]:
    """All rows of a target, by id."""
    parts = [parquet.read_table(path) for path in sorted(Path(target).glob("part-*.parquet"))]
    assert all(part.column_names == COLUMNS for part in parts)
    rows: list[dict[str, Any]] = pa.concat_tables(parts).to_pylist()
    assert len({row["id"] for row in rows}) == len(rows), "no photo is there twice"
    return sorted(rows, key=lambda row: str(row["id"]))


def digests(*contents: bytes) -> list[str]:
    return sorted(hashlib.sha256(data).hexdigest() for data in contents)


def test_a_folder_of_parts_has_a_row_for_each_photo_that_differs(run: Run, folder: Path, tiny_store: Path) -> None:
    done = run("compress", "photos", "-o", "faces/", *OPTIONS)
    assert done.exit_code == 1, "one is broken"
    assert "faces/: 6 photos; of 1 the column error says what is wrong" in done.stderr
    rows = table("faces")
    assert [row["id"] for row in rows] == digests(*FILES.values(), PHOTO[:1000])
    by_id = {row["id"]: row for row in rows}
    with cameo.open(tiny_store, device="cpu") as c:
        for data in FILES.values():
            row, face = by_id[digests(data)[0]], c.compress(data, frame="asis", effort="fast")
            assert (row["payload"], row["model"], row["version"]) == (face.payload, face.model, face.version)
    assert by_id[digests(PHOTO[:1000])[0]]["error"].startswith("truncated-image: ")


def test_the_same_command_again_does_nothing_and_a_new_photo_is_added(run: Run, folder: Path) -> None:
    run("compress", "photos", "-o", "faces/", *OPTIONS)
    before = table("faces")
    run("compress", "photos", "-o", "faces/", *OPTIONS)
    assert table("faces") == before
    (folder / "new.png").write_bytes(png(FACE.rotate(90)))
    run("compress", "photos", "-o", "faces/", *OPTIONS)
    assert len(table("faces")) == len(before) + 1


def tar(path: Path, mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in FILES.items():
            for member, content in ((name, data), (f"{name}.json", b"{}")):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def bytes_column(path: Path) -> None:
    parquet.write_table(pa.table({"who": list(FILES), "image": list(FILES.values())}), path, row_group_size=2)


def struct_column(path: Path) -> None:
    images = [{"bytes": data, "path": name} for name, data in FILES.items()]
    parquet.write_table(pa.table({"image": images}), path, row_group_size=2)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("photos.tar", tar),
        ("photos.tar.gz", lambda path: tar(path, "w:gz")),
        ("photos.parquet", bytes_column),
        ("hugging.parquet", struct_column),
    ],
)
def test_photos_in_tars_and_parquet(run: Run, tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    make(tmp_path / name)
    done = run("compress", name, "-o", "faces/", *OPTIONS)
    assert done.exit_code == 0, done.stderr
    assert [row["id"] for row in table("faces")] == digests(*FILES.values())


def test_a_parquet_without_the_column_is_an_error_that_names_its_columns(run: Run, tmp_path: Path) -> None:
    bytes_column(tmp_path / "photos.parquet")
    done = run("compress", "photos.parquet", "-o", "faces/", "--column", "photo")
    assert done.exit_code == 2
    assert "photos.parquet: it has no column 'photo'; its columns are who, image: name one with --column" in done.stderr
    done = run("compress", "photos.parquet", "-o", "faces/", "--column", "who")
    assert "holds string, not the bytes of files" in done.stderr
    assert not Path("faces").exists()
    Path("x.parquet").write_bytes(b"PAR1 or not")
    assert "x.parquet: it is no Parquet file" in run("compress", "x.parquet", "-o", "faces/").stderr


def test_a_tar_that_is_cut_short_gives_what_it_has(run: Run, tmp_path: Path) -> None:
    tar(tmp_path / "photos.tar")
    whole = Path("photos.tar").read_bytes()
    Path("photos.tar").write_bytes(whole[: whole.index(FILES["3.png"]) + 10])
    done = run("compress", "photos.tar", "-o", "faces/", *OPTIONS)
    assert done.exit_code == 1
    assert "photos.tar: unexpected end of data" in done.stderr
    assert "the same command tries again what is not done" in done.stderr
    assert [row["id"] for row in table("faces")] == digests(*[FILES[f"{i}.png"] for i in range(3)])
    Path("photos.tar").write_bytes(whole)
    assert run("compress", "photos.tar", "-o", "faces/", *OPTIONS).exit_code == 0
    assert [row["id"] for row in table("faces")] == digests(*FILES.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("photos", "-o", "faces.parquet", "--ray"), "with --ray the output is a folder or a prefix"),
        (("photos", "-o", "faces/", "--ray", "--url", "http://127.0.0.1:1"), "leave out --url"),
        (("s3://bucket/photos", "-o", "faces.parquet"), "what is in an object store goes to a folder or prefix"),
        (("empty", "-o", "faces/"), "there are no photos in empty"),
        (("photos", "-o", "faces/", "--model", "nobody"), "nobody"),
        (("photos", "-o", "faces/", "--max-bytes", "2"), "2"),
    ],
)
def test_a_command_that_is_wrong_starts_nothing(run: Run, folder: Path, arguments: tuple[str, ...], said: str) -> None:
    Path("empty").mkdir()
    done: Result = run("compress", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not Path("faces").exists()


def test_a_target_of_other_settings_or_other_parquet_is_refused(run: Run, folder: Path) -> None:
    run("compress", "photos", "-o", "faces/", *OPTIONS)
    done = run("compress", "photos", "-o", "faces/", *OPTIONS, "--max-bytes", "200")
    assert done.exit_code == 2
    assert "faces is of a job with other settings, effort fast, face largest, frame asis; go on" in done.stderr
    Path("other").mkdir()
    bytes_column(Path("other/part-000001.parquet"))
    assert "it is no part of a table of faces" in run("compress", "photos", "-o", "other/", *OPTIONS).stderr


def test_a_cluster_that_is_not_there_is_an_error(run: Run, folder: Path) -> None:
    done = run("compress", "photos", "-o", "faces/", "--ray", "--ray-address", "127.0.0.1:1")
    assert done.exit_code == 1
    assert "there is no Ray cluster at 127.0.0.1:1: " in done.stderr
    assert not Path("faces").exists()


def carry_out(c: cameo.Cameo, driver: job.Driver | None = None) -> job.Summary:
    def drive(*arguments: Any) -> Iterator[Done]:
        return job.here(c, *arguments)

    pieces = sources.find(["photos"], "image", "faces")
    return job.run(c, driver or drive, pieces, "faces", SETTINGS, lambda _: None)


def test_a_job_that_ended_in_the_middle_goes_on_with_its_version(here: cameo.Cameo, folder: Path) -> None:
    def stops(pieces: Any, target: Target, settings: dict[str, Any]) -> Iterator[Done]:
        for number, done in enumerate(job.here(here, pieces, target, settings)):
            if number == 3:
                raise KeyboardInterrupt
            yield done

    def goes_on(pieces: Any, target: Target, settings: dict[str, Any]) -> Iterator[Done]:
        assert len(target.done) == 3
        assert (settings["model"], settings["version"]) == ("tiny-vae", 1)
        return job.here(here, pieces, target, settings)

    with pytest.raises(KeyboardInterrupt):
        carry_out(here, stops)
    assert len(table("faces")) == 3
    assert carry_out(here, goes_on) == (6, 1, [])
    assert len(table("faces")) == 6


def test_two_jobs_do_not_write_one_folder(here: cameo.Cameo, folder: Path) -> None:
    with alone("faces"), pytest.raises(Exception, match="faces: another job is writing it"):
        carry_out(here)


def test_a_job_that_began_earlier_writes_no_more(tmp_path: Path) -> None:
    """As where no lock reaches: in an object store, or after a machine that was cut off comes back."""
    first, second = (Target(str(tmp_path)) for _ in range(2))
    rows: list[dict[str, Any]] = [dict.fromkeys([*COLUMNS, "path"]) | {"id": f"{i:064x}"} for i in range(3)]
    first.open(SETTINGS, "tiny-vae", 1)
    first.add(rows[0])
    first.flush()
    first.add(rows[1])
    assert second.open(SETTINGS, "tiny-vae", 2) == SETTINGS | {"model": "tiny-vae", "version": 1}
    assert second.done == {bytes.fromhex(rows[0]["id"])}
    with pytest.raises(Exception, match="another job has begun to write it, and this one stops"):
        first.flush()
    for row in rows:
        second.add(row)
    second.flush()
    assert [row["id"] for row in table(tmp_path)] == [row["id"] for row in rows]
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".parquet"] == ["_job.json"]
