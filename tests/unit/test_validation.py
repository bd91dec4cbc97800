import pytest
from pydantic import BaseModel, ValidationError, model_validator

from cameo.validation import first_problem, problems


class Inner(BaseModel):
    sizes: list[int]


class Outer(BaseModel):
    inner: Inner
    name: str

    @model_validator(mode="after")
    def _is_named(self) -> "Outer":
        if not self.name:
            raise ValueError("name is empty")
        return self


def wrong(text: str) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(text)
    return caught.value


def test_a_problem_has_its_place() -> None:
    found = problems(wrong('{"inner": {"sizes": [1, "x"]}}'))
    assert [each.place for each in found] == ["inner.sizes.1", "name"]
    assert str(found[0]) == f"inner.sizes.1: {found[0].message}"
    assert found[0].value == "x"
    assert found[0].described("body") == str(found[0])


def test_a_problem_of_the_whole_has_none() -> None:
    first = first_problem(wrong('{"inner": {"sizes": []}, "name": ""}'))
    assert (first.place, str(first)) == ("", "Value error, name is empty")
    assert first.described("body") == "body: Value error, name is empty"
    assert first_problem(wrong("{")).kind == "json_invalid"
