"""The studies: their metrics on planted clips, their rows, their page, and their commands."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from media_files import write_clip
from PIL import Image
from typer.testing import CliRunner

from tempprop.encoding.profiles import PROFILES
from tempprop.evaluation.clip_metrics import color_distance, contrast, frozen, motion, sharpness
from tempprop.mini import unknown_words
from tempprop.mini.classifier import answers_of, load_classifier, recognize
from tempprop.mini.networks import build_vae
from tempprop.mini.world import draw
from tempprop.spec import ClipSettings
from tempprop.studies import drift, media_sizes, modes, sweep
from tempprop.studies.comparison import FIGURES, difference, gains_and_costs
from tempprop.studies.drift_page import CURVES, drift_section, windows
from tempprop.studies.films import drawn_film
from tempprop.studies.metrics import clip_figures, latent_statistics, likeness, recognized
from tempprop.studies.modes_sheet import Block, Strip, write_modes_sheet
from tempprop.studies.results import Row, Study, drift_file, read_study, sweep_file, write_study
from tempprop.studies.subjects import subjects
from tempprop.studies.sweep_page import HEADER, sweep_section

SMALL = ("--prompts", "1", "--frames", "2", "--steps", "2")


def texture():
    """Even noise, softened so that it can be followed: (128, 128, 3)."""
    noise = np.random.default_rng(0).uniform(0, 255, (128, 128, 3))
    soft = cv2.GaussianBlur(np.tile(noise, (3, 3, 1)), (0, 0), 3)[128:256, 128:256]
    return np.clip(128 + 4 * (soft - soft.mean()), 0, 255).astype(np.uint8)


def flat(*levels):
    return np.stack([np.full((128, 128, 3), level, np.uint8) for level in levels])


@pytest.fixture(scope="module")
def classifier():
    return load_classifier()


def test_a_frozen_clip_is_consistent_and_does_not_move(classifier):
    (subject,) = subjects(1)
    still = np.repeat(draw(subject.scene)[None], 3, axis=0)
    figures = clip_figures(classifier, still, subject)
    expected = {
        "consistency": 1,
        "motion": 0,
        "color_drift": 0,
        "jump": 1,
        "sharpness": 1,
        "recognized": 1,
    }
    assert figures == pytest.approx(expected, abs=0.02)
    assert figures["consistency"] == pytest.approx(1, abs=1e-6)
    assert frozen(still).tolist() == [0, 1, 1]
    assert likeness(classifier, still) == pytest.approx(1, abs=1e-6)


def test_a_shift_of_three_pixels_is_a_flow_of_three_pixels():
    clip = np.stack([np.roll(texture(), 3 * number, axis=1) for number in range(3)])
    # What comes in at the border cannot be followed.
    assert motion(clip) == pytest.approx(3, abs=0.4)
    assert frozen(clip).sum() == 0
    assert sharpness(clip) == pytest.approx(1, abs=0.02)


def test_blur_takes_sharpness_away():
    clip = np.stack([texture(), *(cv2.GaussianBlur(texture(), (0, 0), s) for s in (1, 2, 4))])
    measured = sharpness(clip)
    assert measured[0] == 1
    assert (np.diff(measured) < 0).all()
    assert measured[-1] < 0.2


def test_darkening_is_color_drift_and_halving_is_half_the_contrast():
    assert color_distance(flat(200, 149, 98)) == pytest.approx([0, 0.2, 0.4])
    half = (texture() // 2).astype(np.uint8)
    assert contrast(np.stack([texture(), half])) == pytest.approx([1, 0.5], abs=0.01)


def test_latents_of_equal_frames_do_not_drift_and_those_of_darker_ones_do():
    torch.manual_seed(0)
    vae = build_vae().eval()
    shift, deviation = latent_statistics(vae, flat(200, 200, 50), batch=2)
    assert shift[:2] == pytest.approx(0, abs=1e-5)
    assert deviation[:2] == pytest.approx(1, abs=1e-4)
    assert shift[2] > 0.01


def test_what_is_drawn_is_recognized_and_nothing_else(classifier):
    one, other = subjects(2)
    film = drawn_film(one, 4)
    assert recognized(classifier, film, one).tolist() == [1] * 4
    assert recognized(classifier, film, other).tolist() == [0] * 4


def test_subjects_are_large_and_differ():
    cast = subjects(8)
    assert cast[:3] == subjects(3)
    assert {subject.scene.size for subject in cast} == {"large"}
    assert len({subject.prompt for subject in cast}) == 8


def test_every_row_of_the_sweep_is_one_change():
    defaults, *changed, drawn = sweep.variants()
    assert defaults.settings == {}
    assert drawn.settings is None
    seen = [ClipSettings(**variant.settings) for variant in changed]
    assert all(settings != ClipSettings() for settings in seen)
    assert len({settings.model_dump_json() for settings in seen}) == len(seen)
    assert all(len(variant.settings) == 1 for variant in changed)
    assert {name for variant in changed for name in variant.settings} >= {
        "noise_correlation",
        "propagation_strength",
        "propagation_end",
        "propagation_keeps",
        "propagation_low_pass",
        "anchor_weight",
        "color_coherence",
    }


def test_the_long_clips_begin_with_the_defaults_and_every_row_differs():
    *propagated, feedback = drift.VARIANTS
    settings = [variant.settings for variant in propagated]
    assert settings[0] == {}
    dumps = [ClipSettings(**each).model_dump_json() for each in settings]
    assert len(set(dumps)) == len(dumps)
    assert feedback.settings == {}
    assert feedback.value == feedback.feedback.model_dump()
    assert all(variant.feedback is None for variant in propagated)


def row(setting="", value=None, **figures):
    """A row of four clips; figures that are not given are those of a perfect clip."""
    perfect = {
        "consistency": 1.0,
        "motion": 1.0,
        "color_drift": 0.0,
        "jump": 1.0,
        "sharpness": 1.0,
        "recognized": 1.0,
    }
    clips = tuple(
        perfect | {name: values[number] for name, values in figures.items()} for number in range(4)
    )
    return Row(setting=setting, value=value, key=f"{setting}{value}", seconds=1.0, clips=clips)


def test_a_difference_counts_when_it_is_the_same_in_every_clip():
    consistency, motion, *_ = FIGURES
    defaults = row(motion=(1.0, 2.0, 3.0, 4.0))
    more = row("anchor_weight", 0.0, motion=(1.5, 2.6, 3.4, 4.5))
    mixed = row("anchor_weight", 0.1, motion=(2.0, 1.0, 4.0, 3.0))
    assert difference(more, defaults, motion) == 1
    assert difference(defaults, more, motion) == -1
    assert difference(mixed, defaults, motion) == 0
    assert difference(more, defaults, consistency) == 0
    single = more.model_copy(update={"clips": more.clips[:1]})
    alone = defaults.model_copy(update={"clips": defaults.clips[:1]})
    assert difference(single, alone, motion) == 0


def test_sharpness_is_best_at_one():
    soft = row("propagation_end", 1.0, sharpness=(0.5, 0.6, 0.5, 0.6))
    harsh = row("propagation_end", 0.3, sharpness=(1.5, 1.6, 1.5, 1.6))
    for each in (soft, harsh):
        gains, costs = gains_and_costs(each, row())
        assert gains == []
        assert [figure.name for figure in costs] == ["sharpness"]


def cells(page):
    """The tables of a page as lists of cells."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def number(cell):
    digits = cell.rstrip(" ▲▼")
    return float(digits.removesuffix("%")) / (100 if digits.endswith("%") else 1)


@given(st.lists(st.floats(0.5, 1), min_size=4, max_size=4), st.floats(0, 1))
def test_the_sweeps_page_says_what_was_measured(values, anchor):
    rows = (row(consistency=values), row("anchor_weight", anchor, motion=values))
    study = Study(command="measure it", num_frames=3, prompts=("a",) * 4, rows=rows)
    page = sweep_section(study)
    header, _, defaults, changed = cells(page)
    assert header == list(HEADER)
    assert number(defaults[2]) == pytest.approx(np.mean(values), abs=6e-5)
    assert number(changed[3]) == pytest.approx(np.mean(values), abs=6e-3)
    assert float(changed[1]) == pytest.approx(anchor, rel=1e-5)
    assert "`measure it`" in page


def test_the_page_names_a_value_that_is_better_than_the_default():
    better = row("anchor_weight", 0.5, motion=(2.0, 2.1, 2.0, 2.1))
    study = Study(command="", num_frames=3, prompts=("a",) * 4, rows=(row(), better))
    assert "as worse in none: `anchor_weight` 0.5." in sweep_section(study)
    study = study.model_copy(update={"rows": (better, row("anchor_weight", 0.5))})
    assert "No value is better" in sweep_section(study)


def test_the_page_of_long_clips_averages_its_windows():
    curve = tuple(float(frame) for frame in range(256))
    clips = (dict.fromkeys(CURVES, curve), dict.fromkeys(CURVES, (0.0,) * 256))
    rows = (Row(setting="", value=None, key="", seconds=0.0, clips=clips),)
    study = Study(command="", num_frames=256, prompts=("a", "b"), rows=rows)
    _, _, *windows_of_row = cells(drift_section(study))
    assert [line[1] for line in windows_of_row] == [
        "1 to 16",
        "56 to 71",
        "120 to 135",
        "240 to 255",
    ]
    assert [number(line[2]) for line in windows_of_row] == [8.5 / 2, 63.5 / 2, 127.5 / 2, 247.5 / 2]


@given(st.integers(2, 2000))
def test_windows_lie_behind_frame_0_and_within_the_clip(num_frames):
    found = windows(num_frames)
    assert all(1 <= window.start < window.stop <= num_frames for window in found)
    assert len({window.stop - window.start for window in found}) == 1
    assert found[0].start == 1
    assert found[-1].stop == num_frames


def test_what_was_measured_can_be_read_again(tmp_path):
    study = Study(command="c", num_frames=2, prompts=("a",), rows=(row(), row("stiff", {"a": 1})))
    write_study(study, tmp_path / "new" / "study.json")
    assert read_study(tmp_path / "new" / "study.json") == study
    assert read_study(tmp_path / "other.json") is None


def run(app, out, *options):
    result = CliRunner().invoke(app, ["--out", str(out), *SMALL, *options])
    assert result.exit_code == 0, result.output


def test_a_setting_that_is_not_varied_is_refused(tmp_path):
    result = CliRunner().invoke(sweep.app, ["--out", str(tmp_path), "--setting", "fps"])
    assert result.exit_code == 2
    assert "'fps' is not varied" in result.output
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_sweep_goes_on(tmp_path):
    settings = ("anchor_weight", "propagation_keeps")
    few = [option for name in settings for option in ("--setting", name)]
    run(sweep.app, tmp_path, *few)
    whole, page = read_study(sweep_file(tmp_path)), (tmp_path / "defaults.md").read_text()
    assert len(whole.rows) == len(sweep.variants(settings))
    assert whole.command in page
    with Image.open(tmp_path / "sweep.png") as plot:
        assert plot.format == "PNG"

    # Rows that are there are not measured again; what is missing measures the same.
    marked = whole.rows[0].model_copy(update={"seconds": 12345.0})
    part = whole.model_copy(update={"rows": (marked, *whole.rows[1:-1])})
    write_study(part, sweep_file(tmp_path))
    run(sweep.app, tmp_path, *few)
    again = read_study(sweep_file(tmp_path))
    assert again.rows[:-1] == part.rows
    assert again.rows[-1].clips == whole.rows[-1].clips


def test_a_sweep_in_another_precision_is_another_one_and_says_so(tmp_path):
    lone = ("--setting", "keyframe_interval")
    run(sweep.app, tmp_path, *lone)
    wide = read_study(sweep_file(tmp_path))
    run(sweep.app, tmp_path, *lone, "--dtype", "bfloat16")
    narrow = read_study(sweep_file(tmp_path))
    assert "--dtype bfloat16" in narrow.command
    assert "--dtype" not in wide.command
    *rows, drawn = zip(wide.rows, narrow.rows, strict=True)
    assert all(one.key != other.key for one, other in rows)
    assert drawn[0].clips == drawn[1].clips


def test_long_clips_are_measured_frame_by_frame(tmp_path):
    # Feedback leaves out two thirds of the steps.
    run(drift.app, tmp_path, "--steps", "3")
    study = read_study(drift_file(tmp_path))
    assert len(study.rows) == len(drift.VARIANTS)
    for each in study.rows:
        (clip,) = each.clips
        assert clip.keys() == CURVES.keys()
        assert {len(curve) for curve in clip.values()} == {2}
    page = (tmp_path / "defaults.md").read_text()
    assert "## Long clips" in page
    for plot in ("drift.png", "feedback.png"):
        assert f"({plot})" in page
        with Image.open(tmp_path / plot) as picture:
            assert picture.format == "PNG"
    defaults, *_, feedback = study.rows
    assert feedback.clips != defaults.clips


def test_the_sheet_of_modes_is_drawn(tmp_path):
    run(modes.app, tmp_path)
    with Image.open(tmp_path / "modes.png") as sheet:
        assert sheet.format == "PNG"
        assert np.asarray(sheet).std() > 5


def test_a_sheet_shows_every_frame_where_it_belongs(tmp_path):
    strips = [Strip(flat(50, 100), before=flat(200)[0]), Strip(flat(50, 100), after=flat(50)[0])]
    write_modes_sheet([Block("t", "n", strips)], ["one", "two"], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    rows = [line for line in pixels if {(200,) * 3, (50,) * 3} & set(map(tuple, line))]
    gray = [[int(p[0]) for p in line if p[0] == p[1] == p[2]] for line in (rows[0], rows[-1])]
    assert [list(dict.fromkeys(line)) for line in gray] == [[200, 50, 100], [50, 100]]
    assert gray[1].count(50) == 2 * gray[1].count(100)


def test_the_modes_ask_for_what_the_embedded_model_knows(classifier):
    scenes = [modes.scene_of(*each) for each in modes.CAST]
    for scene in scenes:
        assert unknown_words(modes.prompt_of(scene)) == []
        assert unknown_words(modes.prompt_of(scene, "night")) == []
    answers = recognize(classifier, np.stack([draw(scene) for scene in scenes]))
    assert answers == [answers_of(scene) for scene in scenes]


def test_only_a_loop_shows_its_first_frame_again(tmp_path):
    frames, picture = flat(1, 2, 3), flat(4)[0]
    for mode in modes.modes(3):
        strip = modes.strip(mode, frames, picture)
        assert (strip.after is not None) == (mode.title == "Loop")
        assert strip.after is None or (strip.after == frames[0]).all()


def test_media_sizes_are_told_of_every_profile(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8)
    clip = write_clip(tmp_path / "clip.mkv", frames)
    result = CliRunner().invoke(media_sizes.app, [str(clip), "--repeats", "1", "--size", "32"])
    assert result.exit_code == 0, result.output
    lines = [line.split("│") for line in result.output.splitlines() if line.count("│") == 6]
    rows = {cells[1].strip(): cells[3:6] for cells in lines}
    assert rows.keys() == PROFILES.keys()
    assert {name for name, cells in rows.items() if "the same" in cells[2]} == {"ffv1", "png"}
    assert rows["h264"][0].strip() == rows["h264"][1].strip() == "1.00"
