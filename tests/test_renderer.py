import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from rendering import ROUNDING, STRONG, clip_spec, largest_difference, loaded, render
from tiny_pipelines import stable_diffusion

from cluster.held_models import HeldModel
from cluster.renderer import CHUNKS_AHEAD, Renderer
from tempprop.errors import Interrupted, NonFiniteLatentsError
from tempprop.planned_clip import PlannedClip
from tempprop.prompts import encode_prompt, prompt_encoder


@pytest.fixture(scope="module")
def model():
    return loaded(stable_diffusion())


def planned(spec):
    return PlannedClip(spec.clip_id, spec, None)


def renderer_of(model, frames_per_batch=4, on_step=lambda shares: None):
    """A renderer whose first batch waits until `begin` is set."""
    begin = threading.Event()

    def open_model(_):
        assert begin.wait(60)
        return HeldModel(model, prompt_encoder(model), 0)

    return Renderer(open_model, frames_per_batch, on_step), begin


def ask(pool, renderer, *specs):
    """Ask for clips one after the other, in threads of their own."""

    def frames(spec):
        return np.concatenate([chunk.frames for chunk in renderer.frames(planned(spec))])

    return {spec.clip_id: pool.submit(frames, spec) for spec in specs}


def test_clips_share_batches_and_get_what_they_get_alone(model):
    specs = [clip_spec(name, **STRONG, seed=n, num_frames=3) for n, name in enumerate("abcd")]
    batches = []
    renderer, begin = renderer_of(model, on_step=lambda shares: batches.append(sorted(shares)))
    with ThreadPoolExecutor() as pool:
        clips = ask(pool, renderer, *specs)
        begin.set()
        together = {name: future.result(60) for name, future in clips.items()}
    for spec in specs:
        alone = render(model, spec)[spec.clip_id]
        assert largest_difference(together[spec.clip_id], alone) <= ROUNDING
    assert len(batches) == 3 * 3, "twelve frames make three batches of four, of three steps each"
    assert any(len(names) == 2 for names in batches)


def test_clips_that_do_not_fit_together_take_turns(model):
    specs = [clip_spec("a"), clip_spec("b", num_inference_steps=4), clip_spec("c")]
    batches = []
    renderer, begin = renderer_of(model, 16, lambda shares: batches.append(tuple(sorted(shares))))
    with ThreadPoolExecutor() as pool:
        clips = ask(pool, renderer, *specs)
        begin.set()
        for spec in specs:
            assert len(clips[spec.clip_id].result(60)) == spec.num_frames
    assert ("b",) in batches
    assert not any("b" in names and len(names) > 1 for names in batches)


@contextmanager
def overflowing_at(model, prompt):
    """Let the network overflow wherever it draws a prompt."""
    hated = encode_prompt(model, prompt, "", False)["prompt_embeds"]

    def overflow(module, arguments, keywords, output):
        for row, embeddings in enumerate(keywords["encoder_hidden_states"]):
            if torch.allclose(embeddings, hated, atol=1e-4):
                output[0][row] = torch.inf
        return output

    hook = model.pipeline.unet.register_forward_hook(overflow, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def test_only_the_clip_to_blame_fails(model):
    specs = [clip_spec(name, **STRONG, seed=n) for n, name in enumerate(("good", "bad", "other"))]
    alone = {spec.clip_id: render(model, spec)[spec.clip_id] for spec in specs}
    renderer, begin = renderer_of(model, 3)
    with ThreadPoolExecutor() as pool, overflowing_at(model, specs[1].prompt):
        clips = ask(pool, renderer, *specs)
        begin.set()
        for name in ("good", "other"):
            assert largest_difference(clips[name].result(60), alone[name]) <= ROUNDING
        with pytest.raises(NonFiniteLatentsError, match="clip 'bad'"):
            clips["bad"].result(60)


def test_a_clip_that_is_not_wanted_any_more_makes_way(model):
    renderer, begin = renderer_of(model, 1)
    begin.set()
    unwanted = renderer.frames(planned(clip_spec("long", num_frames=1000)))
    next(unwanted)
    unwanted.close()
    (chunk,) = renderer.frames(planned(clip_spec("next", num_frames=1)))
    assert chunk.clip_id == "next"


def test_others_go_on_when_one_of_a_batch_is_not_wanted_any_more(model):
    spec = clip_spec("wanted", **STRONG, num_frames=9)
    renderer, begin = renderer_of(model, 4)
    unwanted = renderer.frames(planned(clip_spec("unwanted", num_frames=50)))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(next, unwanted)
        clips = ask(pool, renderer, spec)
        begin.set()
        first.result(60)
        unwanted.close()
        frames = clips["wanted"].result(60)
    assert largest_difference(frames, render(model, spec)["wanted"]) <= ROUNDING


def test_it_waits_for_a_slow_receiver(model):
    seen = []
    renderer, begin = renderer_of(model, 1, lambda shares: seen.append(shares["clip"]))
    begin.set()
    frames = renderer.frames(planned(clip_spec(num_frames=30)))
    next(frames)
    threading.Event().wait(2)
    made = max(seen) * 30
    assert made <= 2 + CHUNKS_AHEAD
    assert len(list(frames)) == 29


def test_an_interrupt_ends_all_clips(model):
    def on_step(shares):
        raise Interrupted("enough")

    renderer, begin = renderer_of(model, on_step=on_step)
    with ThreadPoolExecutor() as pool:
        clips = ask(pool, renderer, clip_spec("a"), clip_spec("b"))
        begin.set()
        for future in clips.values():
            with pytest.raises(Interrupted, match="enough"):
                future.result(60)


def test_auto_measures_the_batch(model):
    renderer, begin = renderer_of(model, "auto")
    begin.set()
    assert len(list(renderer.frames(planned(clip_spec(num_frames=1))))) == 1
    assert renderer.frames_per_batch in (1, 2, 4, 8, 16)
