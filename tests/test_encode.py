import hashlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from records import small_disk

from tempprop.encode import encode_clip
from tempprop.encoding import command
from tempprop.encoding.ffmpeg import find_ffmpeg
from tempprop.encoding.probe import Probe, probe
from tempprop.encoding.rates import frame_rate
from tempprop.errors import DiskFullError, EncodeError
from tempprop.spec import EncoderConfig

SWATCHES = [
    (220, 30, 40),
    (20, 200, 60),
    (30, 60, 230),
    (255, 255, 255),
    (0, 0, 0),
    (128, 128, 128),
]


def moving(num_frames=8, height=48, width=64):
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    for number in range(num_frames):
        frames[number, :, :, 0] = np.arange(width) * 2
        frames[number, 8:24, 4 * number : 4 * number + 8] = (20, 200, 60)
    return frames


def encoded(frames, directory, **changes):
    options = {"fps": 8.0, "num_frames": 8, "width": 64, "height": 48, "encoder": EncoderConfig()}
    return encode_clip(frames, directory, "clip", **{**options, **changes})


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def children():
    listed = subprocess.run(
        ["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], capture_output=True, check=False
    )
    return [line for line in listed.stdout.decode().splitlines() if "ffmpeg" in line]


def test_a_clip_comes_out_as_it_was_announced(tmp_path):
    frames = moving()
    clip = encoded([frames[:3], frames[3:3], frames[3:]], tmp_path)
    assert clip.probe == Probe("h264", "yuv420p", 64, 48, 8.0, 8, 1.0)
    assert clip.bytes == clip.path.stat().st_size
    assert clip.sha256 == hashlib.sha256(clip.path.read_bytes()).hexdigest()
    assert names(tmp_path) == ["clip.jpg", "clip.mp4", "clip.preview.webp"]
    with Image.open(clip.poster_path) as poster:
        assert np.abs(np.asarray(poster).astype(int) - frames[0]).mean() < 6


def test_the_same_frames_give_the_same_bytes(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    assert encoded([moving()], first).sha256 == encoded([moving()], second).sha256


def test_colors_survive(tmp_path):
    swatches = np.zeros((2, 32, 32 * len(SWATCHES), 3), np.uint8)
    for number, color in enumerate(SWATCHES):
        swatches[:, :, 32 * number : 32 * (number + 1)] = color
    clip = encoded([swatches], tmp_path, num_frames=2, width=swatches.shape[2], height=32)
    with av.open(str(clip.path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.format.name, int(frame.colorspace), int(frame.color_range)) == (
            "yuv420p",
            1,  # BT.709
            1,  # limited
        )
        decoded = frame.to_ndarray(format="rgb24")
    middles = [decoded[16, 32 * number + 16] for number in range(len(SWATCHES))]
    assert np.abs(np.array(middles).astype(int) - np.array(SWATCHES)).max() <= 3


def test_player_can_start_before_the_end_is_there(tmp_path):
    content = encoded([moving()], tmp_path).path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_tags_survive_and_there_is_no_sound(tmp_path):
    tags = {"tempprop_key": "a=b", "clip_id": "x-1", "prompt": "ü 'quoted' \"twice\"; 100 %"}
    clip = encoded([moving()], tmp_path, metadata=tags)
    with av.open(str(clip.path)) as container:
        assert tags.items() <= container.metadata.items()
        assert len(container.streams) == 1


@pytest.mark.parametrize("fps", [24000 / 1001, 29.97, 1 / 3, 0.01, 240.0])
@pytest.mark.parametrize("num_frames", [1, 8])
def test_frame_rates_are_kept(tmp_path, fps, num_frames):
    clip = encoded([moving(num_frames)], tmp_path, fps=fps, num_frames=num_frames)
    assert clip.probe.fps == pytest.approx(fps, rel=1e-9)
    assert clip.probe.duration_seconds == pytest.approx(num_frames / fps, rel=1e-3, abs=2e-3)


def test_rates_become_the_fractions_that_people_mean():
    assert frame_rate(24000 / 1001) == Fraction(24000, 1001)
    assert frame_rate(23.976) == Fraction(2997, 125)
    with pytest.raises(EncodeError, match="too few"):
        frame_rate(1e-9)


@pytest.mark.parametrize(
    ("chunks", "complaint"),
    [
        ([moving(7)], "there are 7 frames where 8"),
        ([], "there are 0 frames"),
        ([moving(8), moving(1)], "more than the 8 frames"),
        ([moving(8, 64, 48)], "have to have the shape"),
        ([moving(8)[0]], "have to have the shape"),
        ([moving(8).astype(np.float32)], "uint8 arrays, not float32"),
        ([None], "uint8 arrays, not NoneType"),
    ],
)
def test_frames_that_were_not_announced(tmp_path, chunks, complaint):
    with pytest.raises(EncodeError, match=complaint):
        encoded(chunks, tmp_path)
    assert names(tmp_path) == []
    assert not children()


@pytest.mark.parametrize("error", [OSError("GPU fell off"), KeyboardInterrupt(), BrokenPipeError()])
def test_the_error_of_the_frames_goes_through(tmp_path, error):
    def frames():
        yield moving(3)
        raise error

    with pytest.raises(type(error)) as caught:
        encoded(frames(), tmp_path)
    assert caught.value is error
    assert names(tmp_path) == []
    assert not children()


def test_five_hundred_failures_leak_nothing(tmp_path):
    big = moving(4, 480, 640)
    # What ffmpeg does not know makes it leave while frames are being written.
    unknown = EncoderConfig().model_copy(update={"pixel_format": "yuv421p"})

    def fail(number):
        with pytest.raises(EncodeError, match="exit status"):
            encoded([big], tmp_path, num_frames=4, width=640, height=480, encoder=unknown)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fail, range(4)))
        before = len(names(Path("/proc/self/fd"))), threading.active_count()
        list(pool.map(fail, range(500)))
        # One or another may belong to somebody else in the process.
        assert len(names(Path("/proc/self/fd"))) < before[0] + 10
        assert threading.active_count() < before[1] + 10
    assert not children()
    assert names(tmp_path) == []


def test_an_encoder_that_dies_is_reported_with_the_head_of_what_it_said(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text(
        "#!/bin/sh\necho 'first line' >&2; head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 7\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(command, "find_ffmpeg", lambda encoder: str(program))
    with pytest.raises(EncodeError, match="exit status 7: first line") as caught:
        encoded([moving(8, 480, 640)], tmp_path, width=640, height=480)
    assert len(str(caught.value)) < 1000


def test_an_encoder_that_is_killed_is_an_error(tmp_path):
    def frames():
        yield moving(4)
        pid = int(children()[0].split()[0])
        os.kill(pid, signal.SIGKILL)
        yield moving(4)

    with pytest.raises(EncodeError, match="exit status -9"):
        encoded(frames(), tmp_path)
    assert names(tmp_path) == []


def test_an_encoder_that_loses_frames_is_found_out(tmp_path, monkeypatch):
    real = find_ffmpeg()
    program = tmp_path / "ffmpeg"
    program.write_text(f'#!/bin/sh\nexec {real} -t 0.5 "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(command, "find_ffmpeg", lambda encoder: str(program))
    with pytest.raises(EncodeError, match="num_frames is 4 and not 8"):
        encoded([moving()], tmp_path)
    assert names(tmp_path) == ["ffmpeg"]


def test_full_disk_is_a_clear_error(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (8, 480, 640, 3), np.uint8)
    with small_disk(tmp_path, 256 * 1024) as disk:
        expected = (DiskFullError, "disk is full") if disk.is_mount() else (EncodeError, "exit")
        with pytest.raises(expected[0], match=expected[1]):
            encoded([noise], disk, width=640, height=480)
        assert names(disk) == []


def test_a_damaged_file_does_not_pass_the_probe(tmp_path):
    clip = encoded([moving()], tmp_path)
    clip.path.write_bytes(clip.path.read_bytes()[:300])
    with pytest.raises(EncodeError, match="does not decode"):
        probe(clip.path)


def test_a_name_cannot_lead_elsewhere(tmp_path):
    with pytest.raises(EncodeError, match="not a file name"):
        encode_clip(
            [moving()],
            tmp_path,
            "../clip",
            fps=8.0,
            num_frames=8,
            width=64,
            height=48,
            encoder=EncoderConfig(),
        )


def test_memory_does_not_grow_with_the_clip(tmp_path):
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from tempprop.encode import encode_clip
from tempprop.spec import EncoderConfig
chunk = np.zeros((8, 256, 256, 3), np.uint8)
def run(chunks):
    encode_clip((chunk for _ in range(chunks)), Path(sys.argv[1]), "clip", fps=8.0,
                num_frames=8 * chunks, width=256, height=256,
                encoder=EncoderConfig(preset="ultrafast"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
short = run(2)
print(run(100) - short)
"""
    grown = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert int(grown.stdout) < 60_000  # kilobytes; the frames are 157 million bytes
