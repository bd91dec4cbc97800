import re
from pathlib import Path

import pytest

from cameo.nn import build
from cameo.store.reader import read_version
from training.recipe import read_recipe

SHIPPED = sorted((Path(__file__).parents[3] / "training").rglob("recipes/*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_a_shipped_recipe_goes_on_with_is_in_the_store(path: Path) -> None:
    for version in re.findall(r"--from (model_store/[a-z0-9-]+/\d+)", path.read_text()):
        manifest = read_version(Path(__file__).parents[3] / version).manifest
        assert manifest.model == read_recipe(path).model


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_build(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem.removesuffix("-gpu")  # the same model, made elsewhere
    build(recipe.model)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("[optimise]\nsteps = 0\n", ":5: optimise.steps is 0; it must be a whole number, at least 1"),
        ("[optimise]\nsteps = 10\nstepz = 1\n", r":6: optimise.stepz is unknown; did you mean optimise.steps\?"),
        ("[optimise]\nsteps = 'many'\n", ':5: optimise.steps is "many"; it must be a whole number'),
        ("[optimise]\nsteps = 1\n", ":3: model.kind is None; allowed: vae, vqvae"),
        ("[optimise\n", ":4: not TOML"),
        ("", ": optimise is missing; it must be a section"),
        ("[augment]\nflip = true\n", ":5: augment.flip is true; it must be a number, at least 0 and at most 1"),
        ("[augment]\nzoom = 1.1\n", ":5: augment.zoom is 1.1; it must be a number, at least 0.5 and at most 1"),
        ("[augment]\ntranslation = 9\n", "it must be a whole number, at least 0 and at most 8"),
        ("[augment]\nrotation = -5\n", "it must be a number, at least 0 and at most 45"),
        ("[augment]\nshift = 2\n", ":5: augment.shift is unknown; augment takes flip, brightness, contrast"),
    ],
)
def test_a_wrong_recipe_names_the_file_and_the_key(tmp_path: Path, wrong: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('name = "x"\ndescription = "x"\nmodel = {}\n' + wrong)
    with pytest.raises(ValueError, match=message) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)


def test_a_vae_needs_a_weight_of_kl(tmp_path: Path) -> None:
    path = tmp_path / "vae.toml"
    text = next(shipped for shipped in SHIPPED if shipped.stem == "vae-64").read_text()
    path.write_text(re.sub(r"^kl = .*$", "kl = 0", text, flags=re.MULTILINE))
    with pytest.raises(ValueError, match=r"losses\.kl is 0"):
        read_recipe(path)


def test_only_a_progressive_code_is_searched(tmp_path: Path) -> None:
    path = tmp_path / "vae.toml"
    text = next(shipped for shipped in SHIPPED if shipped.stem == "vae-64").read_text()
    path.write_text(text + "\n[quantiser]\nsearched = 0.5\n")
    with pytest.raises(ValueError, match=r"quantiser\.searched is 0\.5"):
        read_recipe(path)
