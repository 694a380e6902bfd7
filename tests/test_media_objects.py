"""Media in a store, single files and sequences, and what a worker makes of every profile."""

import json

import numpy as np
import pytest
from records import key_of
from test_encode import encoded, moving
from test_farm import config_of, planned

from cluster.worker import RenderWorker
from tempprop.contact_sheet import ClipOnSheet, write_contact_sheet
from tempprop.encode import CHECKSUMS
from tempprop.encoding.profiles import PROFILES
from tempprop.evaluation.clip_files import find_clips, local_copy, read_clip
from tempprop.media_frames import iter_frames
from tempprop.media_objects import fetch_media, upload_media
from tempprop.objects import list_names
from tempprop.spec import ClipResult, EncoderConfig, FinishingConfig
from tempprop.store import open_store, read_result

KEY = key_of("a")


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def store(request, tmp_path):
    if request.param == "local":
        return open_store(str(tmp_path / "out"))
    return open_store(request.getfixturevalue("s3_uri"))


def test_a_sequence_comes_back_as_it_went(store, tmp_path):
    clip = encoded([moving()], tmp_path, encoder=EncoderConfig(profile="png"))
    media = upload_media(store, clip, "clip.1", KEY)
    folder = f"media/clip.1.{KEY[:16]}.{clip.sha256[:16]}"
    assert media.url == f"{folder}/clip.%05d.png"
    assert media.checksums_url == f"{folder}/{CHECKSUMS}"
    assert len(list_names(store, folder)) == 9
    assert upload_media(store, clip, "clip.1", KEY) == media
    copies = tmp_path / "copies"
    copies.mkdir()
    returned = np.stack(list(iter_frames(fetch_media(store, media, copies))))
    assert np.array_equal(returned, moving())


def test_another_sequence_of_the_same_clip_lies_beside_it(store, tmp_path):
    sequences = []
    for number in range(2):
        directory = tmp_path / str(number)
        directory.mkdir()
        frames = moving() + np.uint8(number)
        clip = encoded([frames], directory, encoder=EncoderConfig(profile="png"))
        sequences.append((upload_media(store, clip, "a", KEY), frames))
    assert len({media.url for media, _ in sequences}) == 2
    for number, (media, frames) in enumerate(sequences):
        copies = tmp_path / f"copies-{number}"
        copies.mkdir()
        assert np.array_equal(list(iter_frames(fetch_media(store, media, copies))), frames)


@pytest.mark.parametrize("profile", PROFILES)
def test_what_a_worker_writes_can_be_read_by_everybody(tmp_path, profile):
    config = config_of().model_copy(update={"encoder": EncoderConfig(profile=profile)})
    out = str(tmp_path / "out")
    clip = planned(config, "clip-1")
    result = RenderWorker("worker-1", out, config, "run-1", 1).render(clip)
    assert isinstance(result, ClipResult), result
    store = open_store(out)
    assert read_result(store, clip.key) == result
    assert (result.encoder.profile, result.media.codec) == (profile, PROFILES[profile].codec)
    assert result.media.encoder == PROFILES[profile].encoder
    for name in (result.media.poster_url, result.media.preview_url):
        assert (tmp_path / "out" / name).stat().st_size
    (found,) = find_clips(out)
    with local_copy(found) as path:
        assert read_clip(path).shape == (2, 32, 32, 3)
    copies = tmp_path / "copies"
    copies.mkdir()
    local = fetch_media(store, result.media, copies)
    write_contact_sheet([ClipOnSheet("a clip", local, "clip-1")], tmp_path / "sheet.png")


def test_the_record_names_the_finishing_steps(tmp_path):
    finishing = FinishingConfig(upscale=2.0, interpolate_fps=16.0)
    config = config_of().model_copy(update={"finishing": finishing})
    clip = planned(config, "clip-1")
    assert clip.key != planned(config_of(), "clip-1").key
    result = RenderWorker("worker-1", str(tmp_path), config, "run-1", 1).render(clip)
    assert isinstance(result, ClipResult), result
    record = json.loads((tmp_path / f"records/{clip.key}.json").read_text())
    assert record["finishing"]["interpolate_fps"] == 16.0
    assert (result.media.width, result.media.num_frames, result.media.fps) == (64, 4, 16.0)
