"""The ways to make a clip: each does what its name says, and baselines are those of diffusers."""

import inspect
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
    TextToVideoZeroPipeline,
)
from hypothesis import given
from hypothesis import strategies as st
from rendering import ROUNDING, largest_difference, loaded
from tiny_pipelines import (
    flux,
    pixart_sigma,
    stable_diffusion,
    stable_diffusion_2,
    stable_diffusion_xl,
)

from tempprop.checkpoint import ClipState
from tempprop.coupling import CoupledEstimates
from tempprop.errors import InputError, ModelError
from tempprop.motion import camera_maps
from tempprop.noise import frame_noise, step_noise_generator
from tempprop.prompts import prompt_encoder
from tempprop.render import render_clips, to_uint8
from tempprop.spec import ClipSettings, Motion
from tempprop.studies.feedback import (
    FeedbackSettings,
    fed_back,
    grain,
    image_to_image,
    match_histogram,
    match_lab,
    picture_generator,
    sharpen,
    warp,
)
from tempprop.studies.methods import Edit, Shot, Studio, methods, propagated
from tempprop.studies.serial import in_series, next_frames, rendered_in_series
from tempprop.studies.takes import Take
from tempprop.studies.text2video_zero import (
    STABLE_DIFFUSION,
    ZeroSettings,
    text2video_zero,
    time_steps,
    zero_clip,
)

COMMON = ClipSettings(num_frames=3, width=32, height=32, num_inference_steps=3, guidance_scale=3.0)
TABLE = methods(COMMON)

FILM = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
TAKES = (
    Take("a", "a red balloon", 11, lambda settings: FILM[: settings.num_frames]),
    Take("b", "a blue boat at night", 12, lambda settings: FILM[: settings.num_frames]),
)


@pytest.fixture(scope="module")
def studio():
    model = loaded(stable_diffusion_2())
    return Studio(model, prompt_encoder(model), COMMON)


def clips_of(studio, name, takes=TAKES):
    """Make the clips of a method, whatever others it is made of."""
    method = TABLE[name]
    if isinstance(method, Shot):
        return method.make(studio, takes)
    sources = clips_of(studio, method.source, takes)
    return [method.change(clip, take) for clip, take in zip(sources, takes, strict=True)]


def noise_of(take, frame):
    return frame_noise(take.seed, frame, (4, 16, 16))


def plain(studio, take, noise):
    """Ask diffusers itself for a picture."""
    output = studio.model.pipeline(
        take.prompt,
        latents=noise[None],
        width=32,
        height=32,
        num_inference_steps=3,
        guidance_scale=3.0,
        output_type="pt",
    )
    return to_uint8(output.images)[0]


@pytest.mark.parametrize("name", TABLE)
def test_every_method_makes_clips_as_they_were_asked_for(studio, name):
    clips = clips_of(studio, name)
    assert len(clips) == 2
    for clip in clips:
        assert clip.dtype == np.uint8
        assert clip.shape == (3, 32, 32, 3)
    if "real" not in name and name != "reference":
        assert not np.array_equal(*clips)


DENOISED = [
    name
    for name, method in TABLE.items()
    if isinstance(method, Shot) and not name.startswith(("real", "reference"))
]


@pytest.mark.parametrize("name", DENOISED)
def test_all_methods_begin_with_the_same_picture(studio, name):
    """Frame 0 is what diffusers makes of the take's prompt, seed, size, steps and guidance."""
    for clip, take in zip(clips_of(studio, name), TAKES, strict=True):
        expected = plain(studio, take, noise_of(take, 0))
        assert largest_difference(clip[0], expected) <= ROUNDING


def test_independent_frames_are_pictures_of_diffusers(studio):
    for clip, take in zip(clips_of(studio, "independent"), TAKES, strict=True):
        expected = np.stack([plain(studio, take, noise_of(take, frame)) for frame in range(3)])
        assert largest_difference(clip, expected) <= ROUNDING
        assert largest_difference(clip[0], clip[1]) > ROUNDING


def test_one_noise_for_all_frames_is_one_picture(studio):
    """The model is the same, the scheduler adds no noise: nothing sets the frames apart."""
    for name in ("same-noise", "frozen"):
        for clip in clips_of(studio, name):
            assert largest_difference(clip, clip[[0, 0, 0]]) <= ROUNDING
    moving = clips_of(studio, "correlated-noise")[0]
    assert largest_difference(moving[0], moving[1]) > ROUNDING


def test_shuffled_clips_hold_the_same_frames_in_an_order_that_can_be_had_again():
    frames = np.arange(16, dtype=np.uint8).reshape(16, 1, 1, 1)
    change = TABLE["shuffled"].change
    one, other = (change(frames, take).ravel().tolist() for take in TAKES)
    assert sorted(one) == list(range(16))
    assert one != other
    assert one != list(range(16))
    assert one == change(frames, TAKES[0]).ravel().tolist()


def test_edits_are_made_of_methods_that_make_clips():
    edits = [method for method in TABLE.values() if isinstance(method, Edit)]
    assert all(isinstance(TABLE[edit.source], Shot) for edit in edits)
    assert {edit.source for edit in edits} == {"real", "coupled"}


def test_every_propagation_asks_for_something_else_and_says_so():
    shots = [method for method in TABLE.values() if isinstance(method, Shot)]
    ours = [shot for shot in shots if getattr(shot.make, "func", None) is propagated]
    asked = [ClipSettings(**shot.make.keywords["changes"]) for shot in ours]
    assert asked == [ClipSettings.model_validate(shot.settings) for shot in ours]
    assert len({settings.model_dump_json() for settings in asked}) == len(ours) == 9
    assert ClipSettings() in asked


def test_clips_are_those_of_the_take_and_of_what_all_have_in_common(studio):
    for take, spec in zip(TAKES, studio.specs(TAKES, {"attention": "first"}), strict=True):
        assert (spec.clip_id, spec.prompt, spec.seed) == (take.name, take.prompt, take.seed)
        shared = {name: getattr(spec, name) for name in ClipSettings.model_fields}
        assert ClipSettings(**shared) == COMMON.model_copy(update={"attention": "first"})


def test_without_a_real_film_there_is_nothing_to_show(studio):
    with pytest.raises(InputError, match="'a'"):
        clips_of(studio, "real", [replace(TAKES[0], film=None)])


def serial_specs(studio, **changes):
    return studio.specs(TAKES, {"num_frames": 4} | changes)


def series(studio, specs):
    return rendered_in_series(studio.model, studio.encode, specs)


def test_in_series_without_strength_there_are_plain_frames(studio):
    free = {"propagation_strength": 0.0, "color_coherence": 0.0}
    specs = serial_specs(studio, **free)
    for clip, spec in zip(series(studio, specs), specs, strict=True):
        plain = np.concatenate([c.frames for c in render_clips(studio.model, [spec])])
        assert largest_difference(clip, plain) <= ROUNDING


def test_in_series_is_another_clip_than_in_parallel(studio):
    specs = serial_specs(studio)
    for clip, spec in zip(series(studio, specs), specs, strict=True):
        parallel = np.concatenate([c.frames for c in render_clips(studio.model, [spec])])
        assert largest_difference(clip[0], parallel[0]) <= ROUNDING
        assert largest_difference(clip[1:], parallel[1:]) > ROUNDING


def test_clips_side_by_side_are_those_that_are_made_alone(studio):
    specs = serial_specs(studio)
    for clip, spec in zip(series(studio, specs), specs, strict=True):
        assert largest_difference(clip, series(studio, [spec])[0]) <= ROUNDING


def with_estimate(state: ClipState, step: int) -> ClipState:
    """Change what the coupling is told of one step."""
    carry = list(state.carry)
    moved = carry[step].previous + 1
    carry[step] = CoupledEstimates(moved, *(carry[step].first,) * 3)
    return replace(state, carry=tuple(carry))


def test_in_series_a_frame_depends_on_the_finished_latents_before_it_alone(studio):
    """What was estimated of them at earlier steps is forgotten; the finished latent counts."""
    specs = serial_specs(studio)[:1]
    (chunk,) = next_frames(studio.model, studio.encode, specs, {})
    steps = len(chunk.state.carry)
    assert steps == 3

    def next_one(state):
        (following,) = next_frames(studio.model, studio.encode, specs, {"a": in_series(state)})
        return following.frames

    for step in range(steps - 1):
        assert np.array_equal(next_one(with_estimate(chunk.state, step)), next_one(chunk.state))
    changed = next_one(with_estimate(chunk.state, steps - 1))
    assert largest_difference(changed, next_one(chunk.state)) > ROUNDING


def test_the_finished_latent_is_what_a_frame_was_decoded_from(studio):
    specs = serial_specs(studio)[:1]
    (chunk,) = next_frames(studio.model, studio.encode, specs, {})
    vae = studio.model.pipeline.vae
    latent = in_series(chunk.state).carry[0].previous[None]
    with torch.no_grad():
        picture = vae.decode(latent / vae.config.scaling_factor).sample
    # The scheduler of Stable Diffusion ends a little short of the clean latent.
    assert largest_difference(to_uint8(picture / 2 + 0.5), chunk.frames) <= 2


def feedback(studio, settings=None, **changes):
    specs = studio.specs(TAKES, changes)
    return fed_back(studio.model, studio.encode, specs, settings or FeedbackSettings())


def test_a_frame_of_the_feedback_is_image_to_image_of_diffusers(studio):
    pipeline = StableDiffusionImg2ImgPipeline(
        **studio.model.pipeline.components, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    for clip, take in zip(feedback(studio), TAKES, strict=True):
        picture = grain(sharpen(clip[0], 0.2), 0.02, take.seed, 1)
        by_hand = pipeline(
            take.prompt,
            image=picture[None],
            strength=1 - 0.65,
            num_inference_steps=3,
            guidance_scale=3.0,
            generator=picture_generator(take.seed, 1),
            output_type="pt",
        ).images
        assert largest_difference(clip[1], to_uint8(by_hand)[0]) <= ROUNDING
        assert largest_difference(clip[1], clip[0]) > ROUNDING


def test_feedback_of_clips_side_by_side_is_that_of_each_alone(studio):
    for clip, spec in zip(feedback(studio), studio.specs(TAKES, {}), strict=True):
        (alone,) = fed_back(studio.model, studio.encode, [spec], FeedbackSettings())
        # What the batch rounds differently goes through pictures of whole levels.
        assert np.abs(clip.astype(int) - alone).mean() < 0.05


def test_feedback_takes_on_the_colors_of_the_first_picture(studio):
    matched, free = feedback(studio), feedback(studio, FeedbackSettings(match_colors=False))
    for one, other in zip(matched, free, strict=True):
        assert np.array_equal(one[:2], other[:2])
        assert not np.array_equal(one[2], other[2])


def test_feedback_follows_the_camera(studio):
    moved = feedback(studio, motion=Motion(translation_x=4))
    for one, other in zip(moved, feedback(studio), strict=True):
        assert np.array_equal(one[0], other[0])
        assert largest_difference(one[1], other[1]) > ROUNDING


def test_feedback_without_any_step_is_refused(studio):
    with pytest.raises(InputError, match="at least 3 steps"):
        feedback(studio, num_inference_steps=2)


def test_image_to_image_is_made_of_the_same_components():
    for build, expected in (
        (stable_diffusion, StableDiffusionImg2ImgPipeline),
        (stable_diffusion_xl, StableDiffusionXLImg2ImgPipeline),
    ):
        model = loaded(build())
        pipeline = image_to_image(model)
        assert type(pipeline) is expected
        for name in ("unet", "vae", "scheduler"):
            assert getattr(pipeline, name) is getattr(model.pipeline, name)


def test_a_family_without_image_to_image_is_refused():
    with pytest.raises(ModelError, match="PixArtSigmaPipeline"):
        image_to_image(loaded(pixart_sigma()))


PICTURE = cv2.GaussianBlur(FILM[0], (5, 5), 1.5)


@pytest.mark.parametrize(("x", "y"), [(3, 0), (-2, 0), (0, 4)])
def test_a_picture_moves_by_whole_pixels_and_repeats_its_border(x, y):
    motion = Motion(translation_x=x, translation_y=y)
    moved = warp(PICTURE, camera_maps(motion, 1, 1, (32, 32))[0].from_previous)
    rows = np.clip(np.arange(32) - y, 0, 31)
    columns = np.clip(np.arange(32) - x, 0, 31)
    assert np.array_equal(moved, PICTURE[rows][:, columns])


def test_a_picture_turns_and_grows_about_its_center():
    quarter = warp(PICTURE, camera_maps(Motion(angle=90), 1, 1, (32, 32))[0].from_previous)
    assert largest_difference(quarter, np.rot90(PICTURE)) <= 1
    larger = warp(PICTURE, camera_maps(Motion(zoom=2), 1, 1, (32, 32))[0].from_previous)
    expected = cv2.resize(PICTURE[8:24, 8:24], (32, 32), interpolation=cv2.INTER_LINEAR)
    assert largest_difference(larger[4:-4, 4:-4], expected[4:-4, 4:-4]) <= 4


@given(st.lists(st.integers(0, 255), min_size=1, max_size=60))
def test_a_histogram_that_is_right_stays_and_a_stretched_one_comes_back(levels):
    values = np.array(levels, dtype=np.uint8)
    assert np.array_equal(match_histogram(values, values), values)
    assert np.array_equal(
        match_histogram(values // 2, values)[np.argsort(values)][-1], values.max()
    )
    order = np.random.default_rng(0).permutation(len(values))
    assert np.array_equal(match_histogram(values[order], values), values[order])


def test_matched_colors_are_those_of_the_reference():
    dark = (PICTURE * 0.6).astype(np.uint8)
    matched = match_lab(dark, PICTURE)
    assert np.abs(matched.mean((0, 1)) - PICTURE.mean((0, 1))).max() < 2
    assert np.abs(matched.std((0, 1)) - PICTURE.std((0, 1))).max() < 2
    # Eight bits of CIELAB lose a little.
    assert np.abs(match_lab(PICTURE, PICTURE).astype(int) - PICTURE).mean() < 2


def test_sharpening_adds_what_a_blur_takes_away():
    assert np.array_equal(sharpen(PICTURE, 0.0), PICTURE)
    flat = np.full((16, 16, 3), 90, np.uint8)
    assert np.array_equal(sharpen(flat, 0.2), flat)
    blurred = cv2.GaussianBlur(PICTURE, (5, 5), 1.0).astype(float)
    expected = np.clip(PICTURE + 0.2 * (PICTURE - blurred), 0, 255)
    assert np.abs(sharpen(PICTURE, 0.2) - expected).max() <= 1


def test_grain_has_the_strength_that_was_asked_for_and_is_new_in_every_frame():
    gray = np.full((64, 64, 3), 128, np.uint8)
    assert torch.equal(grain(gray, 0.0, 1, 1), torch.full((3, 64, 64), 128 / 255))
    one, other = grain(gray, 0.02, 1, 1), grain(gray, 0.02, 1, 2)
    # Of samples from -1 to 1, whose distances are twice those of samples from 0 to 1.
    assert (2 * one).std().item() == pytest.approx(0.02, rel=0.05)
    assert not torch.equal(one, other)
    assert grain(np.zeros((8, 8, 3), np.uint8), 0.5, 1, 1).min() == 0


def by_hand(studio, take):
    components = dict(studio.model.pipeline.components)
    del components["image_encoder"]
    pipeline = TextToVideoZeroPipeline(**components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        take.prompt,
        video_length=3,
        height=32,
        width=32,
        num_inference_steps=3,
        guidance_scale=3.0,
        generator=step_noise_generator(take.seed),
        latents=noise_of(take, 0)[None],
        t0=1,
        t1=2,
    ).images


def test_text2video_zero_is_that_of_diffusers(studio):
    for clip, take in zip(clips_of(studio, "text2video-zero"), TAKES, strict=True):
        expected = np.rint(by_hand(studio, take) * 255)
        assert largest_difference(clip, expected) == 0
        assert largest_difference(clip[1], clip[0]) > ROUNDING
        assert largest_difference(clip[1], clip[2]) > ROUNDING


def test_text2video_zero_leaves_the_model_as_it_was(studio):
    before = clips_of(studio, "coupled")[0]
    scheduler = studio.model.pipeline.scheduler
    clips_of(studio, "text2video-zero")
    assert studio.model.pipeline.scheduler is scheduler
    assert np.array_equal(clips_of(studio, "coupled")[0], before)


def test_the_timesteps_are_those_of_the_paper():
    """With the schedule and the 50 steps of the paper they are diffusers' own defaults."""
    papers = DDIMScheduler(**STABLE_DIFFUSION, steps_offset=1)
    defaults = inspect.signature(TextToVideoZeroPipeline.__call__).parameters
    expected = (defaults["t0"].default, defaults["t1"].default)
    assert time_steps(papers, 50, ZeroSettings()) == expected
    settings = ZeroSettings()
    for name in ("motion_field_strength_x", "motion_field_strength_y"):
        assert getattr(settings, name) == defaults[name].default


def test_another_schedule_is_entered_where_it_holds_as_much_of_the_picture():
    options = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    scheduler = DDIMScheduler(**STABLE_DIFFUSION, **options)
    t0, t1 = time_steps(scheduler, 1000, ZeroSettings())
    papers = DDIMScheduler(**STABLE_DIFFUSION).alphas_cumprod
    reached = scheduler.alphas_cumprod[scheduler.timesteps[[-1 - t0, -1 - t1]]]
    assert reached.tolist() == pytest.approx(papers[[881, 941]].tolist(), rel=0.01)
    t0, t1 = time_steps(scheduler, 12, ZeroSettings())
    assert scheduler.timesteps[[-1 - t0, -1 - t1]].tolist() == [749, 832]


@given(st.integers(2, 200), st.sampled_from(["leading", "trailing", "linspace"]))
def test_there_is_a_step_between_the_timesteps_for_any_schedule(steps, spacing):
    scheduler = DDIMScheduler(timestep_spacing=spacing)
    t0, t1 = time_steps(scheduler, steps, ZeroSettings())
    assert 0 <= t0 < t1 <= steps - 1


def test_text2video_zero_runs_on_a_checkpoint_with_another_scheduler():
    model = loaded(stable_diffusion(EulerDiscreteScheduler(beta_schedule="scaled_linear")))
    (spec,) = Studio(model, prompt_encoder(model), COMMON).specs(TAKES[:1], {})
    clip = zero_clip(model, text2video_zero(model), spec, ZeroSettings())
    assert clip.shape == (3, 32, 32, 3)
    assert type(model.pipeline.scheduler) is EulerDiscreteScheduler


def test_text2video_zero_refuses_what_it_cannot_do(studio):
    with pytest.raises(ModelError, match="FluxPipeline"):
        text2video_zero(loaded(flux()))
    zero = text2video_zero(studio.model)
    for changes in ({"num_frames": 1}, {"guidance_scale": 1.0}, {"num_inference_steps": 1}):
        (spec,) = studio.specs(TAKES[:1], changes)
        with pytest.raises(InputError, match="needs two"):
            zero_clip(studio.model, zero, spec, ZeroSettings())
