"""Faces between two faces, and faces of nobody."""

from pathlib import Path

import numpy as np
import pytest

import cameo
from cameo.errors import InvalidParameter, UnknownModel
from cameo.latent import between, prior
from tests.faces import astronaut


def test_a_walk_begins_and_ends_where_it_should_and_keeps_its_norm() -> None:
    a, b = prior(200, 2, seed=1)
    walk = between(a, b, 5)
    assert len(walk) == 5
    np.testing.assert_array_equal(walk[0], a)
    np.testing.assert_array_equal(walk[-1], b)
    least = min(np.linalg.norm(a), np.linalg.norm(b))
    assert all(np.linalg.norm(point) >= 0.999 * least for point in walk)
    to_b = [float((point @ b.T).item() / np.linalg.norm(point)) for point in walk]
    assert to_b == sorted(to_b)


def test_a_walk_from_a_face_to_itself_stands_still() -> None:
    [a] = prior(20, 1, seed=1)
    np.testing.assert_allclose(np.stack(between(a, a, 3)), np.stack([a, a, a]), rtol=1e-6)
    np.testing.assert_allclose(np.stack(between(0 * a, a, 3)), np.stack([0 * a, a / 2, a]), rtol=1e-6)


def test_a_seed_gives_the_same_faces_however_many() -> None:
    np.testing.assert_array_equal(np.stack(prior(20, 2, seed=3)), np.stack(prior(20, 5, seed=3)[:2]))
    assert (prior(20, 1, seed=4)[0] != prior(20, 1, seed=3)[0]).any()


def test_the_library_walks_and_samples(tiny_store: Path) -> None:
    with cameo.open(tiny_store, device="cpu") as c:
        a = c.compress(astronaut()).payload
        b = c.compress(astronaut()[:, ::-1], frame="asis").payload
        walk = c.interpolate(a, b, steps=4)
        assert [face.size for face in walk] == [(64, 64)] * 4
        assert walk[0].tobytes() == c.reconstruct(a).tobytes()
        assert walk[-1].tobytes() == c.reconstruct(b).tobytes()
        faces = c.sample(2, seed=5)
        assert [face.tobytes() for face in faces] == [face.tobytes() for face in c.sample(3, seed=5)[:2]]
        assert faces[0].tobytes() != faces[1].tobytes()
        assert c.sample(1, model="tiny-vae", version=2)[0].tobytes() != c.sample(1)[0].tobytes()


def test_only_a_vae_has_a_smooth_latent_space(tiny_store: Path) -> None:
    with cameo.open(tiny_store, device="cpu") as c:
        a, other = (c.compress(astronaut(), version=version).payload for version in (1, 2))
        with pytest.raises(InvalidParameter, match="tiny-vae/1 and tiny-vae/2; faces lie between two payloads of one"):
            c.interpolate(a, other)
        progressive = c.compress(astronaut(), model="tiny-progressive").payload
        with pytest.raises(InvalidParameter, match="tiny-progressive is no VAE"):
            c.interpolate(progressive, progressive)
        with pytest.raises(InvalidParameter, match="tiny-vqvae is no VAE"):
            c.sample(model="tiny-vqvae")
        for wrong in (0, 17):
            with pytest.raises(InvalidParameter, match=f"count is {wrong}; it may be 1 to 16"):
                c.sample(wrong)
        with pytest.raises(InvalidParameter, match="steps is 1; it may be 2 to 16"):
            c.interpolate(a, a, steps=1)
        with pytest.raises(InvalidParameter, match="seed is -1"):
            c.sample(seed=-1)


def test_a_store_without_a_vae(tiny_store: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny-vqvae").symlink_to(tiny_store / "tiny-vqvae")
    with cameo.open(tmp_path, device="cpu") as c, pytest.raises(UnknownModel, match="no VAE"):
        c.sample()
