"""The worked examples in docstrings are true."""

import doctest
from types import ModuleType

import pytest

from cameo.codec import container
from cameo.codec import progressive as stream
from cameo.nn import progressive
from training import initialise, planes


@pytest.mark.parametrize("module", [container, stream, progressive, initialise, planes], ids=lambda m: m.__name__)
def test_examples(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 1
    assert result.failed == 0
