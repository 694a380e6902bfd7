"""Which models a worker keeps: those used last, as far as its memory goes."""

import pytest
import torch
from rendering import loaded
from tiny_pipelines import stable_diffusion

from cluster.held_models import HeldModels, size_of

A, B, C = (("a", ()), ("b", ()), ("c", ()))


@pytest.fixture(scope="module")
def model():
    return loaded(stable_diffusion())


@pytest.fixture
def loads(model):
    """A function that loads, and the names that it was asked for."""
    asked = []

    def load(name):
        def call():
            asked.append(name)
            return model

        return call

    load.asked = asked
    return load


def use(models, load, *names):
    for name in names:
        models.get(name, load(name[0]))


def test_a_model_is_as_large_as_its_weights(model):
    networks = (model.pipeline.unet, model.pipeline.vae, model.pipeline.text_encoder)
    parameters = sum(p.numel() for network in networks for p in network.parameters())
    assert 4 * parameters <= size_of(model) <= 4 * parameters + 10_000


def test_a_model_that_is_held_is_not_loaded_again(model, loads):
    models = HeldModels(10 * size_of(model))
    use(models, loads, A, A)
    assert loads.asked == ["a"]


def test_models_share_the_memory_once_their_sizes_are_known(model, loads):
    models = HeldModels(2 * size_of(model))
    use(models, loads, A, B)
    assert models.names == (B,), "nobody knows how large a model is before it was here"
    use(models, loads, A)
    assert models.names == (A, B)
    use(models, loads, B, A)
    assert loads.asked == ["a", "b", "a"]


def test_the_model_used_longest_ago_goes(model, loads):
    models = HeldModels(2 * size_of(model))
    use(models, loads, A, B, C, A, B)
    assert models.names == (B, A)
    use(models, loads, A, C)
    assert models.names == (C, A)


def test_one_model_is_held_however_large(model, loads):
    models = HeldModels(1)
    use(models, loads, A, B)
    assert models.names == (B,)
    models.let_go()
    assert models.names == ()


def test_where_memory_runs_out_while_loading_all_others_go(model):
    models = HeldModels(100 * size_of(model))
    models.get(A, lambda: model)
    models.get(B, lambda: model)
    models.get(A, lambda: model)
    assert models.names == (A, B)
    tries = []

    def load():
        tries.append(models.names)
        if len(tries) == 1:
            raise torch.OutOfMemoryError
        return model

    models._sizes[C] = 1
    models.get(C, load)
    assert tries == [(A, B), ()]
    assert models.names == (C,)
