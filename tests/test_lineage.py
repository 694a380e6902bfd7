import subprocess

import numpy as np
import pytest
from media_files import commit_clip
from records import failure_of, result_of

from tempprop.catalog import write_catalog
from tempprop.encode import encode_clip
from tempprop.encoding.ffmpeg import find_ffmpeg
from tempprop.lineage import media_file
from tempprop.media_objects import upload_media
from tempprop.provenance.claim import claim_of
from tempprop.provenance.sealing import Seal
from tempprop.spec import EncoderConfig, LoRA, PromptKeyframe
from tempprop.store import commit, iter_results, open_store, write_failure


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store(here):
    return open_store("library")


@pytest.fixture
def clip(store, here):
    """A committed clip, encoded as a worker does; the catalog knows it, and not another one."""
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)
    result = result_of("a")
    encoded = encode_clip(
        [frames],
        here,
        "encoded",
        fps=8.0,
        num_frames=3,
        width=32,
        height=32,
        encoder=EncoderConfig(),
        seal=Seal(claim_of(result.spec, result.key, result.model)),
    )
    media = upload_media(store, encoded, "a", result.key)
    committed = commit(store, result.model_copy(update={"media": media}))
    write_catalog(store, "night-1", iter_results(store))
    commit_clip(store, "b", frames)
    return committed


@pytest.mark.parametrize("name", ["clip_id", "key", "sha256", "place", "file", "copy"])
def test_whatever_names_a_clip_finds_its_record(call, here, clip, name):
    copy = here / "copy.mp4"
    copy.write_bytes((here / "library" / clip.media.url).read_bytes())
    names = {
        "clip_id": "a",
        "key": clip.key,
        "sha256": clip.media.sha256,
        "place": clip.media.url,
        "file": f"library/{clip.media.url}",
        "copy": "copy.mp4",
    }
    found = call("why", "library", names[name], "--json").json
    assert [record["key"] for record in found["committed"]] == [clip.key]
    assert (found["failures"], found["parents"]) == ([], [])
    if name in ("file", "copy"):
        assert found["file"]["sha256"] == clip.media.sha256
        assert (
            "is the file that was committed, byte for byte"
            in call("why", "library", names[name]).out
        )
    else:
        assert found["file"] is None


def test_a_uri_names_the_clip_that_lies_there(call):
    store = open_store("memory://lineage")
    commit(store, result_of("a"))
    assert "a: committed" in call("why", store.uri, f"{store.uri}/media/a.mp4").out


def test_a_file_is_found_before_its_run_has_ended(call, store):
    other = commit_clip(store, "b", np.zeros((2, 32, 32, 3), np.uint8))
    assert "b: committed" in call("why", "library", other.media.sha256).out


def ffmpeg(source, target, *options):
    command = [find_ffmpeg(), "-loglevel", "error", "-y", "-i", source, *options, target]
    subprocess.run(command, check=True)


def test_a_file_that_was_cut_still_says_what_it_is(call, here, clip):
    for target, options in (
        ("small.mp4", ["-vf", "scale=16:16", "-movflags", "use_metadata_tags"]),
        ("other.mkv", ["-c", "copy"]),
    ):
        ffmpeg(here / "library" / clip.media.url, here / target, *options)
        answer = call("why", "library", target)
        assert answer.out.startswith(f"{target} says that it is this clip, but is none of its")
        assert f"key       {clip.key}" in answer.out


def test_a_changed_file_of_a_clip_without_its_pictures_is_still_found(call, here, clip):
    changed = here / "changed.mp4"
    changed.write_bytes((here / "library" / clip.media.url).read_bytes() + b"\0")
    for url in (clip.media.poster_url, clip.media.preview_url):
        if url is not None:
            (here / "library" / url).unlink()
    answer = call("why", "library", "changed.mp4")
    assert answer.out.startswith("changed.mp4 says that it is this clip, but is none of its files")


def test_a_file_without_tags_is_found_by_its_bytes(call, here, store):
    untagged = commit_clip(store, "c", np.zeros((2, 32, 32, 3), np.uint8))
    path = here / "library" / untagged.media.url
    assert media_file(path).key is None
    assert "c: committed" in call("why", "library", path).out


def test_files_that_belong_to_no_clip(refused, here, clip):
    (here / "notes.txt").write_text("notes")
    ffmpeg(here / "library" / clip.media.url, here / "gone.mp4", "-map_metadata", "-1")
    for name in ("notes.txt", "gone.mp4", "nowhere.mp4", "no/where", "0" * 64, "x y", "library"):
        assert f"knows no clip {name!r}" in refused("why", "library", name)


def test_the_lineage_of_a_new_take(call, store):
    first = commit(store, result_of("a", "1"))
    second = commit(store, result_of("a", "2").model_copy(update={"parent_key": first.key}))
    lost = commit(store, result_of("b", "1").model_copy(update={"parent_key": "f" * 64}))
    third = result_of("a", "3", run_id="night-3").model_copy(update={"parent_key": second.key})
    commit(store, third)
    out = call("why", "library", third.key).out
    assert [line.split()[:3] for line in out.splitlines() if "take of" in line] == [
        ["take", "of", second.key],
        ["take", "of", first.key],
    ]
    assert "(a, run night-1)" in out
    assert "(not in this output)" in call("why", "library", lost.key).out
    parents = call("why", "library", third.key, "--json").json["parents"]
    assert [parent["key"] for parent in parents] == [second.key, first.key]


def test_everything_that_shaped_a_clip_is_told(call, store):
    result = result_of("a")
    changes = {
        "prompts": (PromptKeyframe(frame=8, prompt="a fox"),),
        "loras": (LoRA(path="look.safetensors", weight=0.5),),
        "noise_correlation": 0.7,
        "init_image": "art.png",
    }
    commit(
        store,
        result.model_copy(
            update={
                "spec": result.spec.model_copy(update=changes),
                "model": result.model.model_copy(update={"lora_digests": ("c" * 64,)}),
                "init_image_sha256": "1" * 64,
            }
        ),
    )
    out = call("why", "library", "a").out
    for words in (
        "prompt    a, ü",
        "frame 8   a fox",
        "settings  16 frames at 8 fps, 128x128, 12 steps, guidance 2.5, noise_correlation 0.7",
        f"digest    {'d' * 64}",
        f"LoRA      look.safetensors at 0.5 ({'c' * 16})",
        f"picture   art.png ({'1' * 64})",
        "denoised  in float32, scheduler that of the model",
        "encoder   profile h264, crf 18",
        "versions  torch 2",
        "hardware  host node-1",
        "run       night-1, attempt 1",
    ):
        assert words in out


def test_a_dead_letter_has_a_key_too(call, store):
    failure = failure_of("bad")
    write_failure(store, failure)
    assert call("why", "library", failure.key).out.startswith("bad: given up")
    assert call("why", "library", failure.key, "--json").json["failures"][0]["clip_id"] == "bad"
