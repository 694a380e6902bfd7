"""The prepared data: every frame where it belongs, what is held out nowhere, clear refusals."""

import os
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from emoji_packages import (
    DURATIONS,
    LONG,
    NAMES,
    SHORT,
    TAKEN,
    UNSEEN,
    animation_files,
    frame_in,
    pack,
    small_archives,
    table,
    webp,
)
from PIL import Image
from typer.testing import CliRunner

from tempprop.errors import InputError
from tempprop.mini.networks import MAX_TOKENS, PICTURE
from tempprop.studies.emoji import dataset
from tempprop.studies.emoji.backgrounds import BACKGROUNDS, on_background
from tempprop.studies.emoji.dataset import read_reference, read_split, read_stills
from tempprop.studies.emoji.packages import NAMES as NAMES_PACKAGE
from tempprop.studies.emoji.prepare import app, prepare_data, summary
from tempprop.studies.emoji.split import CLIP_FRAMES, FPS
from tempprop.studies.emoji.train import tokenizer_of

FILES = ("stills.npy", "captions.json", "reference.npy", "split.json")


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("emoji")
    prepare_data(folder / "work", small_archives(folder))
    return folder / "work"


def test_every_still_is_the_frame_that_it_says(work):
    pictures, stills = read_stills(work)
    assert pictures.shape == (len(stills), PICTURE, PICTURE, 3)
    for picture, still in zip(pictures, stills, strict=True):
        assert frame_in(picture) == (still.code, still.frame)
        assert tuple(picture[0, 0]) == BACKGROUNDS[still.background]
        assert all(still.background in line for line in still.captions)


def test_nothing_that_is_held_out_is_a_still(work):
    """Read from the pixels, not from what is said of them."""
    shown = Counter(frame_in(picture) for picture in read_stills(work)[0])
    assert set(shown.values()) == {1}
    clips, split = read_reference(work)
    in_clips = {frame_in(picture) for clip in clips for picture in clip}
    assert not set(shown) & in_clips
    for animation in split.animations:
        learned = {frame for code, frame in shown if code == animation.code}
        held_out = set(range(*animation.held_out)) if animation.held_out else set()
        expected = set() if animation.unseen else set(range(animation.frames)) - held_out
        assert learned == expected


def test_stills_are_in_no_order(work):
    _, stills = read_stills(work)
    steps = [
        after.frame - before.frame
        for before, after in pairwise(stills)
        if before.code == after.code
    ]
    assert steps.count(1) < 0.2 * len(steps)
    codes = [still.code for still in stills]
    assert len(set(codes[:40])) == len(set(codes))


def test_clips_are_real_frames_at_their_own_speed(work):
    clips, split = read_reference(work)
    assert clips.shape == (len(split.clips), CLIP_FRAMES, PICTURE, PICTURE, 3)
    for frames, clip in zip(clips, split.clips, strict=True):
        shown = [frame_in(frame) for frame in frames]
        assert shown == [(clip.code, frame) for frame in clip.shown]
        lasting = sum(DURATIONS[clip.code][clip.shown[0] : clip.shown[-1]])
        assert lasting == pytest.approx(1000 * (CLIP_FRAMES - 1) / FPS, abs=42)
        assert {tuple(frame[0, 0]) for frame in frames} == {BACKGROUNDS[clip.background]}
        assert clip.prompt.endswith(f"emoji on a {clip.background} background")


def test_skin_tones_and_still_pictures_are_left_out(work):
    split = read_split(work)
    assert [animation.code for animation in split.animations] == list(TAKEN)
    assert [a.milliseconds for a in split.animations] == [sum(DURATIONS[code]) for code in TAKEN]
    assert {clip.code for clip in split.clips} == set(TAKEN) - {SHORT}
    assert [animation.code for animation in split.animations if animation.unseen] == [UNSEEN]
    assert [clip.code for clip in split.clips if clip.unseen] == [UNSEEN]


def test_clips_have_names_of_their_own_and_seeds(work):
    clips = read_split(work).clips
    assert clips[0].clip_id == "1f609-winking-face"
    assert {clip.clip_id for clip in clips} >= {"2600-fe0f-sun", "1f98b-butterfly"}
    assert [clip.seed for clip in clips] == list(range(len(clips)))


def test_equal_packages_give_equal_files(work, tmp_path):
    prepare_data(tmp_path / "again", small_archives(tmp_path))
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (work / name).read_bytes()
    assert sorted(path.name for path in work.iterdir()) == sorted(FILES)


def test_the_summary_counts_what_is_there(work):
    said = summary(read_split(work), len(read_stills(work)[0]))
    assert "6 animations, 378 frames, 0.3 minutes" in said
    assert "of 5 animations" in said
    assert "4 reference clips of the same animations" in said
    assert "1 reference clips of 1 animations" in said


def test_every_word_of_the_captions_is_one_token(work):
    _, stills = read_stills(work)
    tokenizer = tokenizer_of(stills)
    words = {
        word.strip(",") for still in stills for line in still.captions for word in line.split()
    }
    assert "winking" in words
    assert {len(tokenizer(word).input_ids) for word in words} == {3}


def test_a_transparent_picture_is_its_background_and_an_opaque_one_itself():
    for name, color in BACKGROUNDS.items():
        nothing = on_background(Image.new("RGBA", (32, 32), (255, 0, 0, 0)), name, 16)
        assert (nothing == color).all()
        glass = on_background(Image.new("RGBA", (32, 32), (255, 0, 0, 128)), name, 16)
        half = (np.array(color) * 127 + np.array([255, 0, 0]) * 128) / 255
        assert np.abs(glass - half).max() <= 1
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    opaque = Image.fromarray(noise).convert("RGBA")
    assert np.array_equal(on_background(opaque, "navy", 16), noise)


def damaged(webp_file: bytes) -> bytes:
    """Cut an animation in its middle, within a frame."""
    return webp_file[: len(webp_file) // 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture", "1f609 is not a WebP picture"),
        (b"", "1f609 is not a WebP picture"),
        (damaged(webp("1f609", LONG)), "animation 1f609"),
        (webp("1f609", (42, 0, 42)), "frame 1 of the animation 1f609 is shown for 0 ms"),
    ],
)
def test_a_bad_animation_is_named_and_nothing_is_written(tmp_path, content, message):
    archives = small_archives(tmp_path)
    bad = pack(tmp_path / "bad.tgz", {"assets/1f609.webp": content})
    with pytest.raises(InputError, match=message):
        prepare_data(tmp_path / "work", replace(archives, animations=[bad]))
    assert not (tmp_path / "work").exists()


def test_an_animation_that_is_not_square_is_refused(tmp_path):
    frames = [Image.new("RGBA", (20, 24), (level, 0, 0, 255)) for level in (0, 99)]
    frames[0].save(tmp_path / "1f609.webp", save_all=True, append_images=frames[1:], duration=42)
    wide = {"assets/1f609.webp": (tmp_path / "1f609.webp").read_bytes()}
    archives = replace(small_archives(tmp_path), animations=[pack(tmp_path / "wide.tgz", wide)])
    with pytest.raises(InputError, match="1f609 is 20x24 pixels"):
        prepare_data(tmp_path / "work", archives)


def test_packages_that_do_not_go_together_are_refused(tmp_path):
    archives = small_archives(tmp_path)
    names = {code: name for code, name in NAMES.items() if code != "1f609"}
    fewer = pack(tmp_path / "fewer.tgz", {"data/openmoji.json": table(names)})
    with pytest.raises(InputError, match="1f609 has no name"):
        prepare_data(tmp_path / "work", replace(archives, names=fewer))
    with pytest.raises(InputError, match=r"no data/openmoji\.json in"):
        prepare_data(tmp_path / "work", replace(archives, names=archives.animations[0]))
    stills = pack(tmp_path / "stills.tgz", animation_files(["1f4d6", "1f44b-1f3fd"]))
    with pytest.raises(InputError, match="there are no animations in"):
        prepare_data(tmp_path / "work", replace(archives, animations=[stills]))


def test_an_interrupted_preparation_is_no_data(tmp_path, work):
    """Where new data is half written, the old is not taken for it."""
    archives = small_archives(tmp_path)
    prepare_data(tmp_path / "work", archives)
    (tmp_path / "work" / "split.json").unlink()
    for read in (read_stills, read_reference, read_split):
        with pytest.raises(InputError, match="no prepared data in"):
            read(tmp_path / "work")


@pytest.mark.parametrize("name", FILES)
def test_files_of_something_else_are_refused(tmp_path, name):
    prepare_data(tmp_path / "work", small_archives(tmp_path))
    path = tmp_path / "work" / name
    if path.suffix == ".npy":
        np.save(path, np.zeros((3, 4, 4, 3), np.uint8))
    else:
        path.write_text("[]")
    read = read_stills if name in ("stills.npy", "captions.json") else read_reference
    with pytest.raises(InputError, match=f"{name} is not what was prepared"):
        read(tmp_path / "work")


def test_the_command_refuses_packages_that_were_not_pinned(tmp_path):
    result = CliRunner().invoke(app, [str(tmp_path / "work"), "--packages", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: there is no lobehub-fluent-emoji-anim-1-1.0.0.tgz")
    pack(tmp_path / "lobehub-fluent-emoji-anim-1-1.0.0.tgz", animation_files(["1f609"]))
    pack(tmp_path / NAMES_PACKAGE.archive, {"data/openmoji.json": table()})
    result = CliRunner().invoke(app, [str(tmp_path / "work"), "--packages", str(tmp_path)])
    assert result.exit_code == 2
    assert "its integrity is sha512-" in result.stderr
    assert "Traceback" not in result.output + result.stderr
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_the_real_animations():
    """Needs `python -m tempprop.studies.emoji.prepare WORK`, and TEMPPROP_EMOJI=WORK."""
    if not (folder := os.environ.get("TEMPPROP_EMOJI")):
        pytest.skip("TEMPPROP_EMOJI does not name a directory of prepared animations")
    pictures, stills = read_stills(Path(folder))
    clips, split = read_reference(Path(folder))
    assert (len(split.animations), sum(a.frames for a in split.animations)) == (734, 50_354)
    assert len({clip.clip_id for clip in split.clips}) == len(clips) > 600
    about = {animation.code: animation for animation in split.animations}
    for still in stills:
        animation = about[still.code]
        assert not animation.unseen
        assert still.frame not in range(*(animation.held_out or (0, 0)))
    assert pictures[:64].std() > 30
    assert (np.abs(np.diff(clips.astype(np.int16), axis=1)).max((2, 3, 4)) > 2).any(1).all()
    tokenizer = tokenizer_of(stills)
    captions = {line for still in stills for line in still.captions}
    words = {word.strip(",") for line in captions for word in line.split()}
    split_words = [word for word in words if word.isalpha() and len(tokenizer(word).input_ids) > 3]
    assert split_words == []
    assert max(map(len, tokenizer(sorted(captions)).input_ids)) <= MAX_TOKENS
    assert dataset.PICTURE == PICTURE
