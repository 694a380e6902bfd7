from contextlib import contextmanager

import numpy as np
import pytest
import torch
from rendering import ROUNDING, STRONG, clip_spec, largest_difference, loaded, render
from tiny_pipelines import stable_diffusion

from tempprop.errors import is_out_of_memory
from tempprop.memory import halved_when_out_of_memory
from tempprop.render import render_clips


def test_sizes_are_halved_until_it_fits():
    tried = []

    def work(size):
        tried.append(size)
        if size > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    assert halved_when_out_of_memory(work, 16) == ("done", 2)
    assert tried == [16, 8, 4, 2]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), ValueError("bad")])
def test_what_does_not_get_better_is_raised(error):
    def work(_):
        raise error

    with pytest.raises(type(error)):
        halved_when_out_of_memory(work, 1)


def test_pytorch_without_memory_is_recognized():
    """No machine has an exabyte."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**57)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


@contextmanager
def memory_for(model, rows):
    """Let a pipeline's network ask for an exabyte whenever it is given more rows."""

    def greedy(_, arguments, keywords):
        batch = arguments[0] if arguments else keywords["sample"]
        if len(batch) > rows:
            torch.empty(2**57)

    hook = model.pipeline.unet.register_forward_pre_hook(greedy, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def test_a_clip_goes_on_with_smaller_batches_where_memory_runs_out(caplog):
    model, spec = loaded(stable_diffusion()), clip_spec(**STRONG, num_frames=7)
    plenty = list(render_clips(model, [spec], frames_per_batch=6))
    with memory_for(model, rows=4):  # two frames, each with and without its prompt
        scarce = list(render_clips(model, [spec], frames_per_batch=6))
    assert {chunk.frames_per_batch for chunk in plenty} == {6}
    assert {chunk.frames_per_batch for chunk in scarce} == {1}
    frames = [np.concatenate([chunk.frames for chunk in chunks]) for chunks in (plenty, scarce)]
    assert largest_difference(*frames) <= ROUNDING
    assert "memory ran out: going on with 1 frames at a time" in caplog.text


def test_where_one_frame_does_not_fit_it_is_an_error():
    model = loaded(stable_diffusion())
    with memory_for(model, rows=1), pytest.raises(RuntimeError, match="can't allocate memory"):
        render(model, clip_spec())
