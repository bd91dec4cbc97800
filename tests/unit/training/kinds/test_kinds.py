from cameo import nn
from training import kinds


def test_every_network_has_its_steps() -> None:
    assert list(kinds.KINDS) == list(nn.KINDS)


def test_the_kind_of_a_network_is_that_of_its_name() -> None:
    configs = {
        "vae": {"bits": 64},
        "vqvae": {"tokens": 12, "codes": 16, "code_dim": 2},
        "progressive": {"planes": 6, "tokens": 90, "context": 4, "features": 2},
    }
    linear = {"size": 64, "patch": 16, "bands": 8, "latents": [20, 4], "width": 8, "depth": 1, "refine": 4}
    models = {kind: nn.build({"kind": kind, **linear, **own}) for kind, own in configs.items()}
    models["vqvae-grid"] = nn.build(
        {"kind": "vqvae-grid", "size": 64, "width": 8, "depth": 1, "codes": 16, "code_dim": 2}
    )
    assert {name: kinds.kind_of(model) for name, model in models.items()} == kinds.KINDS
