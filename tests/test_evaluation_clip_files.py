"""Clips are found where they lie, under the names that they share, and read as what they are."""

import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import commit_clip, write_clip
from PIL import Image

from tempprop.encode import encode_clip
from tempprop.errors import ClipError
from tempprop.evaluation.clip_files import (
    SUFFIXES,
    find_clips,
    identified,
    local_copy,
    read_clip,
)
from tempprop.media_frames import ANIMATION_SUFFIXES
from tempprop.objects import open_store, write_object
from tempprop.spec import EncoderConfig, PromptKeyframe
from tempprop.store import RECORDS

COLORS = [(220, 30, 40), (20, 200, 60), (30, 60, 230), (255, 255, 255), (0, 0, 0), (128, 128, 128)]


def colored(height=32, width=48):
    """A frame of each color: (6, height, width, 3)."""
    return np.stack([np.full((height, width, 3), color, np.uint8) for color in COLORS])


def names(source):
    return [clip.name for clip in find_clips(str(source))]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_file_gives_the_frames_that_went_in(tmp_path, suffix):
    path = write_clip(tmp_path / f"clip{suffix}", colored())
    frames = read_clip(path)
    assert (frames.shape, frames.dtype) == ((6, 32, 48, 3), np.uint8)
    lossless = suffix in (".mkv", *ANIMATION_SUFFIXES)
    assert np.abs(frames.astype(int) - colored()).max() <= (0 if lossless else 6)
    assert (read_clip(path, 2) == frames[:2]).all()
    assert (read_clip(path, 100) == frames).all()


def test_what_we_encode_has_the_colors_that_we_rendered(tmp_path):
    options = {"fps": 8.0, "num_frames": 6, "width": 48, "height": 32, "encoder": EncoderConfig()}
    clip = encode_clip([colored()], tmp_path, "clip", **options)
    assert np.abs(read_clip(clip.path).astype(int) - colored()).max() <= 4


def test_what_is_transparent_is_black(tmp_path):
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    solid = Image.new("RGBA", (16, 16), (255, 0, 0, 255))
    clear.save(tmp_path / "a.webp", save_all=True, append_images=[solid], lossless=True)
    frames = read_clip(tmp_path / "a.webp")
    assert frames[0].max() == 0
    assert (frames[1] == (255, 0, 0)).all()


def test_a_directory_is_searched_through(tmp_path):
    for name in (
        "b.mp4",
        "a.MP4",
        "deep/er/c.webm",
        "no.txt",
        "poster.jpg",
        ".b.partial.mp4",
        "b.preview.webp",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "d.mp4").touch()
    assert names(tmp_path) == ["a", "b", "deep/er/c"]
    assert names(tmp_path / "b.mp4") == ["b"]
    (tmp_path / "b.gif").touch()
    assert names(tmp_path) == ["a", "b.gif", "b.mp4", "deep/er/c"]


def test_a_glob_names_what_differs(tmp_path, monkeypatch):
    for name in ("one/a/x.mp4", "one/b/x.mp4", "two/a/x.mp4", "one/a/y.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path / "one/*/x.mp4") == ["a/x", "b/x"]
    assert names(tmp_path / "**/x.mp4") == ["one/a/x", "one/b/x", "two/a/x"]
    monkeypatch.chdir(tmp_path)
    assert names("one/a/*") == ["x"]
    assert names("one") == ["a/x", "b/x"]


@pytest.mark.parametrize("source", ["", "gone", "gone/*.mp4", "empty", "empty/*", "note.txt"])
def test_a_place_without_clips(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").touch()
    with pytest.raises(ClipError, match=r"Check the path|Give a directory"):
        find_clips(source)


def test_a_scheme_that_nobody_knows():
    with pytest.raises(ClipError, match=r"cannot be listed.*quux"):
        find_clips("quux://somewhere")


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    local = request.param == "local"
    return open_store(str(tmp_path / "out") if local else f"memory://{uuid.uuid4().hex}")


def test_an_output_location_gives_its_committed_clips_with_their_prompts(store):
    commit_clip(store, "b", colored())
    kept = commit_clip(store, "a", colored())
    write_object(store, "media/orphan.mp4", b"of a worker that died")
    found = find_clips(store.uri)
    assert [(clip.name, clip.prompt) for clip in found] == [("a", "a, ü"), ("b", "b, ü")]
    assert found[0].sha256 == kept.media.sha256
    with local_copy(found[0]) as path:
        assert identified(found[0], path) == found[0]
        assert read_clip(path).shape == (6, 32, 48, 3)


def test_the_newest_take_counts(store):
    commit_clip(store, "a", colored(), prompt="new", take="2", minute=2)
    commit_clip(store, "a", colored(), prompt="old", minute=1)
    assert [clip.prompt for clip in find_clips(store.uri)] == ["new"]


def test_a_prompt_that_travels_is_none_for_the_whole_clip(store):
    later = (PromptKeyframe(frame=3, prompt="a boat"),)
    commit_clip(store, "a", colored(), prompts=later)
    assert [clip.prompt for clip in find_clips(store.uri)] == [None]


def test_an_output_location_without_clips_has_none(store):
    write_object(store, f"{RECORDS}/nothing.txt", b"")
    with pytest.raises(ClipError, match="there are no clips"):
        find_clips(store.uri)


def test_a_remote_clip_that_is_gone(store):
    commit_clip(store, "a", colored())
    (clip,) = find_clips(store.uri)
    store.fs.rm(clip.path)
    with pytest.raises(ClipError, match=r"it is not there|does not decode"), local_copy(clip) as at:
        read_clip(at)


def test_a_prompt_is_read_from_the_file(tmp_path):
    write_clip(tmp_path / "a.mkv", colored(), prompt="a red boat")
    options = {"fps": 8.0, "num_frames": 6, "width": 48, "height": 32, "encoder": EncoderConfig()}
    encode_clip([colored()], tmp_path, "b", **options, metadata={"prompt": "a red boat"})
    write_clip(tmp_path / "c.gif", colored())
    clips = [identified(clip, tmp_path / clip.path) for clip in find_clips(str(tmp_path))]
    assert [clip.prompt for clip in clips] == ["a red boat", "a red boat", None]


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"")
    with pytest.raises(ClipError, match="does not decode"):
        read_clip(path)
    with pytest.raises(ClipError, match="cannot be read"):
        identified(find_clips(str(path))[0], tmp_path / "gone.mp4")


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SUFFIXES), st.binary(max_size=200))
def test_noise_is_no_clip(tmp_path_factory, suffix, content):
    path = tmp_path_factory.mktemp("noise") / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ClipError):
        read_clip(path)
