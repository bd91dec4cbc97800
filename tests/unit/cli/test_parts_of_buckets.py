"""From an object store into an object store, against a real server."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from cameo.cli.parts import places
from cameo.cli.parts.target import Target
from tests.s3 import BUCKET, S3, s3_server
from tests.unit.cli.conftest import SETTINGS, Run
from tests.unit.cli.test_parts import FILES, OPTIONS, digests, tar


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        places._bucket.cache_clear()
        yield server
        places._bucket.cache_clear()


def ids(target: str) -> list[str]:
    found = []
    for part in places.find(target):
        if part.endswith(".parquet"):
            with places.reader(part) as file:
                found += pyarrow.parquet.read_table(pyarrow.PythonFile(file)).column("id").to_pylist()
    return sorted(found)


def test_photos_and_tars_under_a_prefix_become_parts_under_another(s3: S3, run: Run, tmp_path: Path) -> None:
    tar(tmp_path / "photos.tar")
    places.create(s3.url("in/photos.tar"), (tmp_path / "photos.tar").read_bytes())
    places.create(s3.url("in/more/1.png"), FILES["1.png"])
    places.create(s3.url("in/more/none.png"), b"none")
    done = run("compress", s3.url("in"), "-o", s3.url("out"), *OPTIONS)
    assert done.exit_code == 1
    assert "of 1 the column error says what is wrong" in done.stderr
    assert ids(s3.url("out")) == digests(*FILES.values(), b"none")
    run("compress", s3.url("in/"), "-o", s3.url("out/"), *OPTIONS)
    assert ids(s3.url("out")) == digests(*FILES.values(), b"none")
    assert run("compress", s3.url("in/more/1.png"), "-o", "here/", *OPTIONS).exit_code == 0


def test_of_two_jobs_on_one_prefix_the_one_that_began_first_stops(s3: S3) -> None:
    first, second = Target(s3.url("both")), Target(s3.url("both"))
    row = {"id": f"{1:064x}", "payload": None, "error": None}
    first.open(SETTINGS, "tiny-vae", 1)
    second.open(SETTINGS, "tiny-vae", 1)
    first.add(row)
    with pytest.raises(Exception, match="another job has begun to write it"):
        first.flush()
    second.add(row)
    second.flush()
    assert ids(s3.url("both")) == [row["id"]]


def test_a_bucket_that_is_not_there_and_credentials_that_expire(s3: S3, run: Run) -> None:
    done = run("compress", "s3://nowhere/photos", "-o", "faces/")
    assert (done.exit_code, done.stderr) == (
        1,
        "cameo: There is no bucket for s3://nowhere; correct the name, or make the bucket.\n",
    )
    places.create(s3.url("few/1.png"), FILES["1.png"])
    assert "there are no photos in" in run("compress", s3.url("nothing"), "-o", "faces/").stderr
    s3.refuse(wrong=True)
    try:
        done = run("compress", s3.url("few"), "-o", "faces/")
    finally:
        s3.refuse(wrong=False)
    assert done.exit_code == 1
    assert f"refuses the credentials for s3://{BUCKET}" in done.stderr
