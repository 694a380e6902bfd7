"""The real clips as files, and the prompts that ask for the same."""

import json

import numpy as np
import pytest
from emoji_packages import UNSEEN, small_archives
from typer.testing import CliRunner

from tempprop.errors import InputError
from tempprop.lossless import read_frames
from tempprop.spec import ClipSettings
from tempprop.studies.emoji.dataset import ReferenceClip, read_split
from tempprop.studies.emoji.prepare import prepare_data
from tempprop.studies.emoji.reference import app, prompt_lines, real_clips
from tempprop.studies.takes import cast_from_file


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emoji")
    prepare_data(folder / "work", small_archives(folder))
    return folder / "work"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_clips_are_given_apart_by_what_is_learned_from(work):
    seen, unseen = (list(real_clips(work, unseen=unseen)) for unseen in (False, True))
    assert [clip.about.code for clip in unseen] == [UNSEEN]
    assert [*seen, *unseen][0].frames.shape == (16, 128, 128, 3)
    assert sorted(clip.about.seed for clip in [*seen, *unseen]) == list(range(5))


def test_the_files_hold_every_pixel_and_the_prompts_go_with_them(work, tmp_path):
    result = CliRunner().invoke(app, [str(work), str(tmp_path)])
    assert result.exit_code == 0, result.output
    for folder, prompts in (("seen", "prompts.jsonl"), ("unseen", "prompts-unseen.jsonl")):
        clips = list(real_clips(work, unseen=folder == "unseen"))
        rows = {row["clip"]: row for row in lines(tmp_path / prompts)}
        assert rows.keys() == {clip.about.clip_id for clip in clips}
        for clip in clips:
            row = rows[clip.about.clip_id]
            assert row.keys() == {"clip", "prompt", "seed", "film"}
            assert (row["prompt"], row["seed"]) == (clip.about.prompt, clip.about.seed)
            assert np.array_equal(read_frames(tmp_path / row["film"]), clip.frames)
        assert len(list((tmp_path / folder).iterdir())) == len(clips)
    assert "4 clips in" in result.output


def test_any_part_of_the_prompts_is_like_the_rest():
    """Neighboring code points are alike, such as faces, and must not be neighbors in the file."""
    clip = ReferenceClip(
        clip_id="0", code="0", prompt="p", seed=0, background="mint", shown=(), unseen=False
    )
    clips = [clip.model_copy(update={"clip_id": f"{n}", "seed": n}) for n in range(200)]
    seeds = [json.loads(line)["seed"] for line in prompt_lines(clips, "seen").splitlines()]
    assert sorted(seeds) == list(range(200))
    assert np.mean(seeds[:100]) == pytest.approx(100, abs=15)
    assert prompt_lines(clips, "seen") == prompt_lines(clips, "seen")


def test_methods_are_asked_for_the_same_and_find_the_real_films(work, tmp_path):
    CliRunner().invoke(app, [str(work), str(tmp_path)])
    clips = {clip.about.clip_id: clip for clip in real_clips(work, unseen=False)}
    cast = cast_from_file(tmp_path / "prompts.jsonl", 2)
    assert {take.name for take in (*cast.takes, *cast.others)} == clips.keys()
    for take in cast.takes:
        film = take.film(ClipSettings(num_frames=16, width=128, height=128))
        assert np.array_equal(film, clips[take.name].frames)
        assert take.prompt == clips[take.name].about.prompt


def test_the_film_says_how_fast_it_plays(work, tmp_path):
    import av

    CliRunner().invoke(app, [str(work), str(tmp_path)])
    with av.open(str(next((tmp_path / "seen").iterdir()))) as container:
        assert float(container.streams.video[0].average_rate) == read_split(work).fps == 12


def test_data_that_is_not_prepared_is_refused(tmp_path):
    result = CliRunner().invoke(app, [str(tmp_path / "none"), str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "python -m tempprop.studies.emoji.prepare" in result.stderr
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="no prepared data"):
        real_clips(tmp_path, unseen=False)
