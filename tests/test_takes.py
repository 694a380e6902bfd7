"""What every method is asked for: takes of the drawn world, and takes from a file."""

import json

import av
import numpy as np
import pytest

from tempprop.errors import InputError
from tempprop.mini import unknown_words
from tempprop.mini.held_out import HELD_OUT
from tempprop.mini.stills import scene_at
from tempprop.mini.world import draw
from tempprop.spec import ClipSettings
from tempprop.studies.takes import cast_from_file, drawn_cast, keep_takes

SETTINGS = ClipSettings(num_frames=3)
LINE = {"clip": "one", "prompt": "a red balloon", "seed": 7}


def write(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def write_gif(path, frames):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=10)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb8"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_drawn_takes_begin_with_their_scene_and_are_described_in_words_that_the_model_knows():
    cast = drawn_cast(6)
    assert len({take.prompt for take in cast.takes}) == 6
    for index, take in enumerate(cast.takes):
        film = take.film(SETTINGS)
        assert film.shape == (3, 128, 128, 3)
        assert np.array_equal(film[0], draw(scene_at(index, HELD_OUT)))
        assert unknown_words(take.prompt) == []
    assert {scene_at(index, HELD_OUT).size for index in range(6)} == {"small", "medium", "large"}


def test_the_reference_is_of_other_scenes():
    cast = drawn_cast(4)
    names = [take.name for take in (*cast.takes, *cast.others)]
    assert len(set(names)) == 8
    assert names[4:] == [take.name for take in drawn_cast(8).takes[4:]]


def test_a_film_of_the_drawn_world_is_square():
    (take,) = drawn_cast(1).takes
    assert take.film(ClipSettings(num_frames=2, width=64, height=64)).shape == (2, 64, 64, 3)
    with pytest.raises(InputError, match="64x128"):
        take.film(ClipSettings(width=64, height=128))


def test_a_file_names_prompts_seeds_and_films(tmp_path):
    frames = np.zeros((4, 20, 40, 3), np.uint8)
    frames[:, :, 10:30] = (255, 0, 0)
    (tmp_path / "films").mkdir()
    write_gif(tmp_path / "films" / "one.gif", frames)
    second = {**LINE, "clip": "two", "seed": 8}
    path = write(tmp_path / "takes.jsonl", {**LINE, "film": "films/one.gif"}, "", second)
    cast = cast_from_file(path)
    assert [(take.name, take.prompt, take.seed) for take in cast.takes] == [
        ("one", "a red balloon", 7),
        ("two", "a red balloon", 8),
    ]
    assert cast.others == ()
    # The square in the middle of the film, which is all red.
    film = cast.takes[0].film(ClipSettings(num_frames=3, width=16, height=16))
    assert film.shape == (3, 16, 16, 3)
    assert (film[..., 0] > 200).all()
    assert (film[..., 1:] < 60).all()
    assert cast.takes[1].film is None
    with pytest.raises(InputError, match="4 frames, fewer than 16"):
        cast.takes[0].film(ClipSettings())


def test_the_lines_after_the_takes_are_the_others(tmp_path):
    path = write(tmp_path / "t.jsonl", *({**LINE, "clip": name} for name in "abcde"))
    cast = cast_from_file(path, 2)
    assert [take.name for take in cast.takes] == ["a", "b"]
    assert [take.name for take in cast.others] == ["c", "d"]


@pytest.mark.parametrize(
    ("rows", "number", "message"),
    [
        (["no json"], None, "line 1"),
        ([LINE, {**LINE, "clip": "a/b"}], None, "line 2: clip"),
        ([{**LINE, "seed": -1}], None, "seed"),
        ([{**LINE, "prompt": ""}], None, "prompt"),
        ([{**LINE, "colour": "red"}], None, "colour"),
        ([LINE, LINE], None, "'one'"),
        ([LINE], 2, "1 lines, not 2"),
        ([], None, "0 lines"),
    ],
)
def test_a_file_with_a_fault_is_refused(tmp_path, rows, number, message):
    with pytest.raises(InputError, match=message):
        cast_from_file(write(tmp_path / "t.jsonl", *rows), number)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl"):
        cast_from_file(tmp_path / "none.jsonl")


def test_a_directory_keeps_the_takes_that_it_was_begun_with(tmp_path):
    keep_takes(drawn_cast(2), tmp_path)
    kept = [path.stat().st_ino for path in sorted(tmp_path.iterdir())]
    keep_takes(drawn_cast(2), tmp_path)
    assert [path.stat().st_ino for path in sorted(tmp_path.iterdir())] == kept
    assert cast_from_file(tmp_path / "takes.jsonl").takes[0].prompt == drawn_cast(2).takes[0].prompt
    assert [take.name for take in cast_from_file(tmp_path / "others.jsonl").takes] == [
        take.name for take in drawn_cast(2).others
    ]
    with pytest.raises(InputError, match="other prompts"):
        keep_takes(drawn_cast(3), tmp_path)
