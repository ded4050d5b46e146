"""Noise belongs to a seed and a position, and has the distribution that it should."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.model.noise import MAX_SEED, gumbel_noise

SEEDS = st.integers(0, MAX_SEED)


@given(seed=SEEDS, position=st.integers(0, 255), size=st.integers(1, 256), more=st.integers(0, 64))
def test_the_same_seed_and_position_give_the_same_noise_however_much_is_drawn(seed, position, size, more):
    noise = gumbel_noise(seed, position, size)
    assert noise.dtype == np.float32
    assert np.isfinite(noise).all()
    assert np.array_equal(noise, gumbel_noise(seed, position, size + more)[:size])


@given(seed=SEEDS, position=st.integers(0, 255))
def test_another_seed_or_position_gives_other_noise(seed, position):
    noise = gumbel_noise(seed, position, 16)
    assert not np.array_equal(noise, gumbel_noise(seed ^ 1, position, 16))
    assert not np.array_equal(noise, gumbel_noise(seed, position + 1, 16))


def test_a_seed_is_a_promise_about_numbers():
    assert (
        gumbel_noise(7, 3, 3).tolist()
        == np.float32([-0.268963098526001, 2.0220110416412354, -1.0308738946914673]).tolist()
    )


def test_the_least_and_the_most_likely_draw_are_finite(monkeypatch):
    class Ends:
        def __init__(self, **_):
            pass

        def random_raw(self, size):
            return np.resize(np.array([0, 2**64 - 1], np.uint64), size)

    monkeypatch.setattr(np.random, "Philox", Ends)
    least, most = gumbel_noise(0, 0, 2).tolist()
    assert np.isfinite([least, most]).all()
    assert least < -3
    assert most > 30


def test_the_noise_is_gumbels_distribution():
    draws = np.concatenate([gumbel_noise(11, position, 256) for position in range(400)])
    for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
        expected = np.exp(-np.exp(-np.quantile(draws, quantile)))
        assert abs(expected - quantile) < 0.01
