"""The command that renders the clips of every method."""

import json

import numpy as np
import pytest
import torch
from test_takes import LINE, write
from tiny_pipelines import save
from typer.testing import CliRunner

from tempprop.lossless import read_frames, write_lossless
from tempprop.mini.captions import EXAMPLE_PROMPTS
from tempprop.mini.reconstruct import decibels
from tempprop.studies.method_records import MethodRecord
from tempprop.studies.methods import methods
from tempprop.studies.peak_memory import forget_peak, peak_bytes
from tempprop.studies.render_methods import DEFAULTS, app, choose
from tempprop.studies.takes import drawn_cast

FILMS = "reference,real,real-shuffled"


def run(out, *options):
    small = ("--clips", "2", "--frames", "2", "--steps", "2")
    return CliRunner().invoke(app, [str(out), *small, *options])


def ran(out, *options):
    result = run(out, *options)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)


def refused(out, *options):
    """Run what cannot be done; returns what is said about it, without the frame around it."""
    result = run(out, *options)
    assert result.exit_code == 2, result.output
    return " ".join(result.output.replace("│", " ").split())


def record_of(out, name):
    return MethodRecord.model_validate_json((out / f"{name}.json").read_text())


def clip_names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(save("stable-diffusion", tmp_path_factory.mktemp("tiny") / "model"))


def test_real_films_are_kept_to_the_bit_and_in_two_sets(tmp_path):
    ran(tmp_path, "--methods", FILMS)
    cast = drawn_cast(2)
    assert clip_names(tmp_path / "real") == clip_names(tmp_path / "real-shuffled")
    assert clip_names(tmp_path / "real") == ["00000.mkv", "00001.mkv"]
    assert clip_names(tmp_path / "reference") == ["00002.mkv", "00003.mkv"]
    settings = DEFAULTS.model_copy(update={"num_frames": 2})
    for directory, takes in (("real", cast.takes), ("reference", cast.others)):
        for take in takes:
            film = read_frames(tmp_path / directory / f"{take.name}.mkv")
            assert np.array_equal(film, take.film(settings))


def test_a_record_tells_what_was_asked_for_and_what_it_cost(tmp_path, tiny):
    asked = ("--width", "32", "--height", "16", "--guidance-scale", "4", "--threads", "1")
    ran(tmp_path, "--methods", "independent,frozen", "--model", tiny, *asked)
    record = record_of(tmp_path, "independent")
    assert record.settings["noise_correlation"] == 0
    assert (record.common.width, record.common.height) == (32, 16)
    assert record.common.guidance_scale == 4
    assert record.model.pipeline_class == "StableDiffusionPipeline"
    assert (record.dtype, record.device, record.threads) == ("float32", "cpu", 1)
    assert record.num_frames == 4
    assert record.frames_per_second == pytest.approx(
        # The seconds are rounded to a thousandth.
        4 / record.seconds,
        rel=0.001 / record.seconds,
    )
    assert record.peak_memory_bytes > 10**7
    assert record_of(tmp_path, "frozen").settings == {"of": "coupled"}
    assert clip_names(tmp_path / "coupled") == ["00000.mkv", "00001.mkv"]
    for name in ("00000.mkv", "00001.mkv"):
        clip = read_frames(tmp_path / "independent" / name)
        assert clip.shape == (2, 16, 32, 3)
        still = read_frames(tmp_path / "frozen" / name)
        first = read_frames(tmp_path / "coupled" / name)[0]
        assert (still == first).all()


def test_an_interrupted_run_goes_on_and_a_finished_one_renders_nothing(tmp_path, tiny):
    options = ("--methods", "coupled,shuffled", "--model", tiny, "--width", "32", "--height", "32")
    ran(tmp_path, *options)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in files}
    for path in files:
        path.touch()
    times = {path: path.stat().st_mtime_ns for path in files if path.suffix != ".jsonl"}
    ran(tmp_path, *options)
    assert {path: path.stat().st_mtime_ns for path in times} == times

    # Clips that are there are not rendered again; what is missing comes out the same.
    gone, stays = tmp_path / "coupled" / "00000.mkv", tmp_path / "coupled" / "00001.mkv"
    gone.unlink()
    write_lossless(np.zeros((2, 32, 32, 3), np.uint8), stays, 8.0)
    marked = stays.read_bytes()
    ran(tmp_path, *options)
    assert np.array_equal(read_frames(gone), decoded(before[gone], tmp_path))
    assert stays.read_bytes() == marked
    assert record_of(tmp_path, "coupled").num_frames == 6
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == files


def decoded(content, directory):
    path = directory / "again.mkv"
    path.write_bytes(content)
    try:
        return read_frames(path)
    finally:
        path.unlink()


def test_clips_that_were_asked_for_differently_are_not_mixed(tmp_path, tiny):
    small = ("--model", tiny, "--width", "32", "--height", "32", "--methods", "coupled")
    ran(tmp_path, *small)
    assert "another common" in refused(tmp_path, *small, "--guidance-scale", "3")
    assert "other prompts" in refused(tmp_path, *small, "--clips", "3")


def test_prompts_come_from_a_file(tmp_path, tiny):
    rows = [{**LINE, "clip": f"take-{number}", "seed": number} for number in range(3)]
    prompts = write(tmp_path / "prompts.jsonl", *rows)
    small = ("--model", tiny, "--width", "32", "--height", "32", "--prompts", str(prompts))
    ran(tmp_path / "out", *small, "--methods", "serial")
    assert clip_names(tmp_path / "out" / "serial") == ["take-0.mkv", "take-1.mkv"]
    kept = (tmp_path / "out" / "takes.jsonl").read_text().splitlines()
    assert [json.loads(row)["seed"] for row in kept] == [0, 1]
    for films in ("real", "reference"):
        assert "leave" in refused(tmp_path / "out", *small, "--methods", films)


@pytest.mark.parametrize("name", ["coupled-first", "serial", "feedback", "text2video-zero"])
def test_the_embedded_model_makes_clips(tmp_path, name):
    prompts = write(
        tmp_path / "prompts.jsonl", {"clip": "one", "prompt": EXAMPLE_PROMPTS[0], "seed": 1}
    )
    options = ("--prompts", str(prompts), "--clips", "1", "--steps", "3")
    ran(tmp_path / "out", "--methods", name, *options)
    clip = read_frames(tmp_path / "out" / name / "one.mkv")
    assert clip.shape == (2, 128, 128, 3)
    assert clip.std() > 10


def test_films_that_the_autoencoder_returns_are_close_and_not_the_same(tmp_path):
    ran(tmp_path, "--methods", "real,real-autoencoded", "--dtype", "bfloat16")
    for film in (tmp_path / "real").iterdir():
        real, returned = read_frames(film), read_frames(tmp_path / "real-autoencoded" / film.name)
        assert 30 < decibels(real, returned) < 50


def test_names_of_methods_are_checked_before_anything_is_made(tmp_path):
    assert "'magic'" in refused(tmp_path / "out", "--methods", "coupled,magic")
    assert "multiple of 8" in refused(tmp_path / "out", "--width", "30")
    assert not (tmp_path / "out").exists()


def test_what_is_made_of_other_clips_comes_after_them():
    table = methods(DEFAULTS)
    assert choose("frozen", table) == ["coupled", "frozen"]
    assert choose(" frozen , real-shuffled", table) == [
        "real",
        "coupled",
        *("real-shuffled", "frozen"),
    ]
    assert sorted(choose(None, table)) == sorted(table)


def test_the_peak_is_that_of_the_time_since_it_was_forgotten():
    cpu = torch.device("cpu")
    forget_peak(cpu)
    before = peak_bytes(cpu)
    held = np.ones(30_000_000)
    assert peak_bytes(cpu) - before > 200_000_000
    del held
    forget_peak(cpu)
    assert peak_bytes(cpu) - before < 100_000_000
