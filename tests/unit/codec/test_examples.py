"""The worked examples in docstrings are true."""

import doctest
from types import ModuleType

import pytest

from cameo.codec import container, progressive


@pytest.mark.parametrize("module", [container, progressive], ids=lambda module: module.__name__)
def test_examples(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 2
    assert result.failed == 0
