from pathlib import Path

import pytest

from app.nn import build
from training.recipe import read_recipe

SHIPPED = sorted((Path(__file__).parents[3] / "training" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_build(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    build(recipe.model)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("[optimise]\nsteps = 0\n", "optimise.steps"),
        ("[optimise]\nsteps = 10\nstepz = 1\n", "optimise.stepz"),
        ("[optimise]\nsteps = 'many'\n", "optimise.steps"),
        ("[optimise]\nsteps = 1\n", "model.kind is None; allowed: vae, vqvae"),
        ("[optimise\n", "not TOML"),
        ("", "optimise"),
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
    path.write_text(text.replace("kl = 0.25", "kl = 0"))
    with pytest.raises(ValueError, match=r"losses\.kl is 0"):
        read_recipe(path)
