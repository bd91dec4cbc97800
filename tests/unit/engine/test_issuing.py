import logging
from pathlib import Path

import pytest

from app.engine.issuing import Issuing
from cameo.cards import make_keys


def test_a_folder_that_becomes_broken_leaves_the_issuers_that_were_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_keys("https://office.example", tmp_path)
    issuing = Issuing(None, tmp_path)
    assert set(issuing.trusted()) == {"https://office.example"}

    broken = tmp_path / "other.pem"
    broken.write_text("half a ke")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert set(issuing.trusted()) == {"https://office.example"}
    (record,) = caplog.records  # once, not for each card
    assert "other.pem cannot be read as a key" in record.getMessage()

    broken.unlink()
    make_keys("https://other.example", tmp_path)
    assert set(issuing.trusted()) == {"https://office.example", "https://other.example"}


def test_a_folder_that_is_broken_at_the_start_stops_it(tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_text("")
    with pytest.raises(ValueError, match=r"CAMEO_CARD_ISSUERS: .*one\.pem"):
        Issuing(None, tmp_path)
