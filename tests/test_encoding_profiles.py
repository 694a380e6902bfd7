"""What each profile makes of the same frames, as players and other programs see it."""

import hashlib
import itertools
import os
import shutil

import av
import numpy as np
import OpenEXR
import pytest
from chromium import chromium, wait
from PIL import Image
from pydantic import ValidationError
from test_encode import encoded, moving, names

from tempprop.encode import CHECKSUMS
from tempprop.encoding import command
from tempprop.encoding.exr import linear_light
from tempprop.encoding.ffmpeg import find_ffmpeg
from tempprop.encoding.nvenc import nvenc_problem
from tempprop.encoding.profiles import PROFILES
from tempprop.errors import EncodeError
from tempprop.media_frames import iter_frames
from tempprop.spec import EncoderConfig, FinishingConfig

LEAST_DECIBELS = {"gif": 28, "webp": 28}


def decibels(left, right):
    difference = np.asarray(left, float) - np.asarray(right, float)
    return 10 * np.log10(255**2 / max(1e-12, np.mean(difference**2)))


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_gives_the_clip_back(tmp_path, profile):
    frames = moving()
    clip = encoded([frames], tmp_path, encoder=EncoderConfig(profile=profile), fps=24000 / 1001)
    assert clip.probe.num_frames == 8
    assert clip.probe.codec == PROFILES[profile].codec
    assert clip.probe.duration_seconds == pytest.approx(8 * 1001 / 24000, abs=2e-2)
    returned = np.stack(list(iter_frames(clip.pattern)))
    assert decibels(returned, frames) > LEAST_DECIBELS.get(profile, 35)
    if PROFILES[profile].is_lossless:
        assert np.array_equal(returned, frames)
    # Not the clip once more: a moving part is where it was in each frame.
    assert decibels(returned[::-1], frames) < decibels(returned, frames) - 3


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_frames_give_the_same_bytes_in_every_profile(tmp_path, profile):
    digests = set()
    for number in range(2):
        directory = tmp_path / str(number)
        directory.mkdir()
        clip = encoded([moving()], directory, encoder=EncoderConfig(profile=profile))
        digests.add((clip.sha256, hashlib.sha256(clip.preview_path.read_bytes()).hexdigest()))
    assert len(digests) == 1


@pytest.mark.parametrize("profile", [name for name in PROFILES if not PROFILES[name].is_rgb])
def test_video_is_tagged_as_bt709(tmp_path, profile):
    clip = encoded([moving()], tmp_path, encoder=EncoderConfig(profile=profile))
    with av.open(str(clip.path)) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == PROFILES[profile].pixel_formats[0]
        assert (int(frame.colorspace), int(frame.color_range)) == (1, 1)
        assert int(frame.color_trc) == int(frame.color_primaries) == 1


@pytest.mark.parametrize("profile", ["h264", "hevc", "av1", "vp9", "prores", "ffv1"])
def test_tags_survive_in_every_container_that_has_them(tmp_path, profile):
    tags = {"tempprop_key": "abc", "clip_id": "x-1"}
    clip = encoded([moving()], tmp_path, encoder=EncoderConfig(profile=profile), metadata=tags)
    with av.open(str(clip.path)) as container:
        found = {name.lower(): value for name, value in container.metadata.items()}
    assert tags.items() <= found.items()


@pytest.mark.parametrize(
    ("profile", "pixel_format"),
    [(name, pixels) for name in PROFILES for pixels in PROFILES[name].pixel_formats[1:]],
)
def test_every_pixel_format_that_is_offered_can_be_had(tmp_path, profile, pixel_format):
    encoder = EncoderConfig(profile=profile, pixel_format=pixel_format, preview=False)
    clip = encoded([moving(2)], tmp_path, num_frames=2, encoder=encoder)
    assert clip.probe.pixel_format == pixel_format


@pytest.mark.parametrize(
    ("profile", "preset"),
    [
        (name, PROFILES[name].presets[index])
        for name in ("h264", "hevc", "av1", "vp9")
        for index in (1, -1)
    ],
)
def test_the_first_and_the_last_preset_are_known(tmp_path, profile, preset):
    encoder = EncoderConfig(profile=profile, preset=preset, preview=False)
    assert encoded([moving(2)], tmp_path, num_frames=2, encoder=encoder).bytes


@pytest.mark.parametrize(
    ("profile", "worse"), [("h264", 45), ("hevc", 45), ("av1", 60), ("vp9", 60)]
)
def test_a_higher_rate_factor_makes_a_smaller_file(tmp_path, profile, worse):
    noise = [np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), np.uint8)]
    fine = encoded(noise, tmp_path, encoder=EncoderConfig(profile=profile)).bytes
    assert encoded(noise, tmp_path, encoder=EncoderConfig(profile=profile, crf=worse)).bytes < fine


def test_apple_finds_its_tag_and_a_stream_that_can_be_played_early(tmp_path):
    content = encoded([moving()], tmp_path, encoder=EncoderConfig(profile="hevc")).path.read_bytes()
    assert b"hvc1" in content
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize(("loop", "gif"), [(0, 0), (1, None), (3, 2)])
def test_animations_say_how_often_they_are_played(tmp_path, loop, gif):
    for profile, expected in (("gif", gif), ("webp", loop)):
        encoder = EncoderConfig(profile=profile, loop=loop)
        with Image.open(encoded([moving()], tmp_path, encoder=encoder).path) as image:
            # A GIF says how often it is repeated after the first time, and nothing for never.
            assert image.info.get("loop") == expected


def test_a_sequence_is_a_directory_with_sums_that_hold(tmp_path):
    clip = encoded([moving()], tmp_path, encoder=EncoderConfig(profile="png"))
    frames = [f"clip.{number:05}.png" for number in range(8)]
    assert names(clip.path) == [CHECKSUMS, *frames]
    sums = (clip.path / CHECKSUMS).read_bytes()
    assert clip.sha256 == hashlib.sha256(sums).hexdigest()
    assert sums.decode() == "".join(
        f"{hashlib.sha256((clip.path / name).read_bytes()).hexdigest()}  {name}\n"
        for name in frames
    )
    assert clip.bytes == sum((clip.path / name).stat().st_size for name in frames)


def test_a_name_with_a_percent_sign_is_no_pattern(tmp_path):
    directory = tmp_path / "50%05d"
    directory.mkdir()
    clip = encoded([moving()], directory, encoder=EncoderConfig(profile="png"))
    assert len(names(clip.path)) == 9


def test_exr_holds_linear_light(tmp_path):
    frames = moving()
    clip = encoded([frames], tmp_path, encoder=EncoderConfig(profile="exr"), metadata={"k": "v"})
    with OpenEXR.File(str(clip.path / "clip.00003.exr")) as file:
        header, pixels = dict(file.header()), file.channels()["RGB"].pixels
    assert pixels.dtype == np.float16
    assert np.allclose(pixels, linear_light(frames[3]), atol=5e-4)
    assert header["k"] == "v"
    assert header["chromaticities"][:2] == pytest.approx((0.64, 0.33))


def test_linear_light_is_the_inverse_of_srgb():
    # IEC 61966-2-1: mid gray 188 is half of the light; the ends stay; it never falls.
    light = linear_light(np.arange(256, dtype=np.uint8))
    assert (light[0], light[255]) == (0.0, 1.0)
    assert light[188] == pytest.approx(0.5, abs=0.004)
    assert np.all(np.diff(light) > 0)
    back = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.array_equal(np.round(255 * back), np.arange(256))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"crf": 52}, "crf 52 does not go with the profile h264, which takes 0 to 51"),
        ({"profile": "prores", "crf": 18}, "the profile prores, which has none: leave it out"),
        ({"profile": "av1", "preset": "slow"}, "preset slow .* takes 8, 0, 1, 2"),
        ({"profile": "vp9", "pixel_format": "rgb24"}, "takes yuv420p, yuv444p, yuv420p10le"),
        ({"profile": "gif", "loop": 70_000}, "less than or equal to 65535"),
        ({"loop": 1}, "loop 1 does not go with the profile h264"),
        ({"profile": "ffv1", "nvenc": True}, "nvenc True does not go with the profile ffv1"),
        ({"quality": 50}, "quality 50 does not go with the profile h264"),
        ({"profile": "h265"}, "'h264', 'hevc'"),
    ],
)
def test_settings_that_a_profile_does_not_have(settings, complaint):
    with pytest.raises(ValidationError, match=complaint):
        EncoderConfig(**settings)


def test_what_is_not_given_is_the_profile_s_own():
    assert EncoderConfig() == EncoderConfig(crf=18, preset="medium", pixel_format="yuv420p")
    assert EncoderConfig(profile="av1", preset=6).preset == "6"
    assert EncoderConfig(profile="webp").quality == 90
    assert EncoderConfig.model_validate_json(EncoderConfig().model_dump_json()) == EncoderConfig()


def test_where_nvidia_s_encoder_does_not_work_another_takes_its_place_and_says_why(tmp_path):
    clip = encoded([moving()], tmp_path, encoder=EncoderConfig(nvenc=True))
    problem = nvenc_problem("h264_nvenc")
    assert clip.encoder.instead_of == problem
    assert clip.encoder.name == ("libx264" if problem else "h264_nvenc")
    if problem:
        assert "h264_nvenc" in problem


def test_a_gif_that_would_be_too_fast_is_refused(tmp_path):
    with pytest.raises(EncodeError, match="at most 50 frames per second, and the clip has 60"):
        encoded([moving()], tmp_path, encoder=EncoderConfig(profile="gif"), fps=60.0)


@pytest.mark.parametrize("profile", ["ffv1", "png"])
def test_pixels_that_are_not_those_that_went_in_are_found_out(tmp_path, monkeypatch, profile):
    program = tmp_path / "ffmpeg"
    conversion = f"format={PROFILES[profile].pixel_formats[0]}"
    spoiled = f"drawbox=w=1:h=1:color=white,{conversion}"
    program.write_text(f'#!/bin/bash\nexec {find_ffmpeg()} "${{@/{conversion}/{spoiled}}}"\n')
    program.chmod(0o755)
    monkeypatch.setattr(command, "find_ffmpeg", lambda encoder: str(program))
    with pytest.raises(EncodeError, match="the pixels are not those that went in"):
        encoded([moving()], tmp_path, encoder=EncoderConfig(profile=profile, preview=False))
    assert names(tmp_path) == ["ffmpeg"]


@pytest.mark.parametrize(
    ("fps", "num_frames"), list(itertools.product([0.01, 8.0, 60.0], [1, 7, 130]))
)
def test_a_preview_is_small_and_lasts_as_long(tmp_path, fps, num_frames):
    frames = np.repeat(moving(1, 240, 640), num_frames, axis=0)
    sizes = {"width": 640, "height": 240, "num_frames": num_frames, "fps": fps}
    clip = encoded([frames], tmp_path, **sizes)
    with Image.open(clip.preview_path) as preview:
        assert preview.size == (320, 120)
        assert 1 <= getattr(preview, "n_frames", 1) <= 120
    assert names(tmp_path) == ["clip.jpg", "clip.mp4", "clip.preview.webp"]


def sliding(num_frames=8, step=8):
    """A bright square that moves to the right by so many pixels a frame."""
    frames = np.full((num_frames, 96, 160, 3), 40, np.uint8)
    for number in range(num_frames):
        left = 16 + step * number
        frames[number, 32:64, left : left + 32] = 230
    return frames


@pytest.mark.parametrize("profile", PROFILES)
def test_a_clip_that_stands_still_is_as_long_as_any_other(tmp_path, profile):
    still = np.repeat(moving(1), 6, axis=0)
    for finishing, length in ((FinishingConfig(), 6), (FinishingConfig(interpolate_fps=24.0), 18)):
        kept = 1 if profile == "webp" else length
        options = {"num_frames": 6, "encoder": EncoderConfig(profile=profile)}
        clip = encoded([still], tmp_path, **options, finishing=finishing)
        assert clip.probe.num_frames == kept
        assert clip.probe.duration_seconds == pytest.approx(kept / clip.probe.fps, abs=2e-2)
        returned = list(iter_frames(clip.pattern, clip.probe.fps))
        assert len(returned) == kept
        assert all(
            decibels(frame, still[0]) > LEAST_DECIBELS.get(profile, 33) for frame in returned
        )
        if clip.is_sequence:
            shutil.rmtree(clip.path)


def test_frames_that_an_animation_holds_together_count_one_by_one(tmp_path):
    frames = np.concatenate([np.repeat(moving(1), 5, axis=0), moving(3)[1:]])
    clip = encoded([frames], tmp_path, num_frames=7, encoder=EncoderConfig(profile="webp"))
    assert (clip.probe.num_frames, clip.probe.fps) == (7, pytest.approx(8))
    with Image.open(clip.path) as image:
        assert image.n_frames == 3
    returned = np.stack(list(iter_frames(clip.path, 8.0)))
    assert decibels(returned, frames) > LEAST_DECIBELS["webp"]
    assert len(list(iter_frames(clip.path))) == 3


def center(frame):
    weights = frame[..., 1].astype(float) - 40
    return float((weights.sum(axis=0) * np.arange(frame.shape[1])).sum() / weights.sum())


def test_interpolated_frames_lie_between_those_that_were_rendered(tmp_path):
    clip = encoded(
        [sliding()],
        tmp_path,
        width=160,
        height=96,
        encoder=EncoderConfig(profile="ffv1"),
        finishing=FinishingConfig(interpolate_fps=24.0),
    )
    assert (clip.probe.num_frames, clip.probe.fps, clip.probe.duration_seconds) == (24, 24.0, 1.0)
    centers = [center(frame) for frame in iter_frames(clip.path)]
    # Of eight pixels a frame become three times 8/3; at the end there is nothing to go to.
    steps = np.diff(centers[3:20])
    assert np.all(steps > 1.5)
    assert np.all(steps < 4)
    assert np.allclose(centers[0:21:3], [center(frame) for frame in sliding()[:7]], atol=1.0)


@pytest.mark.parametrize(("num_frames", "expected"), [(1, 5), (2, 10), (8, 40)])
def test_the_last_frame_is_held_so_that_a_clip_keeps_its_length(tmp_path, num_frames, expected):
    clip = encoded(
        [moving(num_frames)],
        tmp_path,
        num_frames=num_frames,
        fps=6.0,
        finishing=FinishingConfig(interpolate_fps=30.0),
    )
    assert clip.probe.num_frames == expected
    assert clip.probe.duration_seconds == pytest.approx(num_frames / 6, abs=2e-3)


def test_upscaling_keeps_the_picture(tmp_path):
    finishing = FinishingConfig(upscale=2.5, upscale_filter="lanczos")
    clip = encoded([moving()], tmp_path, finishing=finishing)
    assert (clip.probe.width, clip.probe.height) == (160, 120)
    first = next(iter_frames(clip.path))
    small = np.asarray(Image.fromarray(first).resize((64, 48), Image.Resampling.BOX))
    assert decibels(small, moving()[0]) > 25


def test_a_rate_that_does_not_rise_is_refused(tmp_path):
    with pytest.raises(EncodeError, match="interpolate_fps is 8, and the clip has 8 frames"):
        encoded([moving()], tmp_path, finishing=FinishingConfig(interpolate_fps=8.0))


def test_an_ffmpeg_without_the_encoder_is_passed_over(tmp_path, monkeypatch):
    poor = tmp_path / "ffmpeg"
    poor.write_text("#!/bin/sh\necho ' V....D libx264  H.264'\n")
    poor.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_ffmpeg("libx264") == str(poor)
    assert find_ffmpeg("libsvtav1") != str(poor)
    with pytest.raises(EncodeError, match=f"{poor} and .* cannot encode with libnothing"):
        find_ffmpeg("libnothing")


@pytest.mark.browser
def test_chromium_plays_what_browsers_play(tmp_path):
    tags = []
    for profile in ("h264", "av1", "vp9", "gif", "webp"):
        directory = tmp_path / profile
        directory.mkdir()
        path = encoded([moving()], directory, encoder=EncoderConfig(profile=profile)).path
        tag = "img" if PROFILES[profile].loops else "video"
        tags.append(f'<{tag} id="{profile}" src="{path.as_uri()}"></{tag}>')
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html>{''.join(tags)}")
    with chromium(tmp_path) as driver:
        driver.get(page.as_uri())
        for profile in ("h264", "av1", "vp9"):
            wait(driver, f"{profile}.readyState >= 2 || {profile}.error")
            size = driver.execute_script(f"return [{profile}.videoWidth, {profile}.duration]")
            assert size == [64, pytest.approx(1.0, abs=0.02)], profile
        for profile in ("gif", "webp"):
            assert wait(driver, f"{profile}.complete && {profile}.naturalWidth") == 64
