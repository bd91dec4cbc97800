import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

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


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner
    name: str = ""


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
    assert (first.place, str(first)) == ("", "name is empty")
    assert first.described("body") == "body: name is empty"
    assert first_problem(wrong("{")).kind == "json_invalid"


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValidationError) as caught:
        Strict.model_validate({"inner": {"sizes": []}, "nane": "x"})
    assert str(first_problem(caught.value)) == "nane: there is no such name"
    assert str(first_problem(caught.value, Strict.model_fields)) == "nane: there is no such name; there are inner, name"
    with pytest.raises(ValidationError) as caught:
        Strict.model_validate({"inner": {}})
    assert "there are" not in str(first_problem(caught.value, Strict.model_fields))
