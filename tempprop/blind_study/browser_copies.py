"""Clips as a browser plays them: without tags that tell where they come from, and spoiled ones."""

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tempprop.encode import encode_clip
from tempprop.errors import ClipError
from tempprop.evaluation.clip_files import read_clip
from tempprop.frames import Frames
from tempprop.media_frames import ANIMATION_SUFFIXES
from tempprop.spec import EncoderConfig
from tempprop.storage_faults import one_line

CONTAINERS = {"h264": "mp4", "av1": "mp4", "vp8": "webm", "vp9": "webm"}
"""Codecs that every current browser plays, and in what."""

PLAYED_PIXELS = {"yuv420p", "yuvj420p"}

LOOKS_LOSSLESS = EncoderConfig(crf=8)
"""For clips that have to be encoded again, because no browser plays them, or not in step."""

SPOILED_QUALITY = EncoderConfig(crf=28)
NOISE_LEVELS = 70.0
NOISE_GRAINS = 40
"""Grains of the noise along a clip's shorter side."""

DEFAULT_FRAME_MS = 100
"""What browsers make of an animation that gives its frames no time."""


@dataclass(frozen=True)
class BrowserCopy:
    """A clip that a browser plays.

    Attributes:
        media_type: As in `video/mp4`.
        fps: Frames per second, on average.
        content: The whole file.
    """

    media_type: str
    fps: float
    content: bytes


def browser_copy(path: Path, known_fps: float | None = None) -> BrowserCopy:
    """Copy a clip without its tags; what browsers do not play is encoded again.

    The pictures of H.264, VP8, VP9 and AV1 with 8 bits and 4:2:0 stay as they are, to the bit.
    Anything else, and animations, which cannot be kept in step, becomes H.264 that looks lossless;
    an odd width or height grows by a pixel, which repeats the last one.

    Args:
        path: A local media file or animation, or the pattern of a sequence's files.
        known_fps: Its frames per second, where others than the file itself say so.

    Returns:
        The copy.

    Raises:
        ClipError: The clip does not decode.
        EncodeError: It could not be encoded.
    """
    if path.suffix.lower() in ANIMATION_SUFFIXES:
        frames, fps = read_clip(path, fps=known_fps), known_fps or _animation_fps(path)
        return _encoded(frames, fps, LOOKS_LOSSLESS)
    try:
        with av.open(str(path)) as source:
            stream = source.streams.video[0]
            context = stream.codec_context
            fps = known_fps or float(stream.average_rate or 0)
            if fps <= 0:
                raise ClipError("it does not say how many frames a second it has")
            if context.name in CONTAINERS and context.pix_fmt in PLAYED_PIXELS:
                return _without_tags(source, stream, fps, CONTAINERS[context.name])
    except (av.FFmpegError, IndexError) as error:
        raise ClipError(f"it does not decode ({one_line(error)})") from error
    return _encoded(read_clip(path), fps, LOOKS_LOSSLESS)


def spoiled_copy(copy: BrowserCopy, seed: int) -> BrowserCopy:
    """Spoil a clip so that nobody who looks prefers it: frames out of order, under heavy noise.

    Args:
        copy: Of the clip.
        seed: Of the order and the noise.

    Returns:
        One of the same length that looks less real and moves less smoothly.

    Raises:
        ClipError: The clip does not decode.
        EncodeError: It could not be encoded.
    """
    with tempfile.TemporaryDirectory(prefix="tempprop-") as directory:
        path = Path(directory) / copy.media_type.replace("/", ".")
        path.write_bytes(copy.content)
        frames = read_clip(path)
    return _encoded(spoiled(frames, seed), copy.fps, SPOILED_QUALITY)


def spoiled(frames: Frames, seed: int) -> Frames:
    """Shuffle frames, and add coarse noise that differs from frame to frame.

    Args:
        frames: `(frames, height, width, 3)`, uint8.
        seed: Of the order and the noise.

    Returns:
        As many frames of the same size.
    """
    random = np.random.default_rng(seed)
    num_frames, height, width, _ = frames.shape
    grain = max(1, min(height, width) // NOISE_GRAINS)
    result = frames[random.permutation(num_frames)]
    for number, frame in enumerate(result):
        coarse = random.normal(0, NOISE_LEVELS, (-(-height // grain), -(-width // grain), 3))
        noise = coarse.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]
        result[number] = np.clip(frame + noise, 0, 255)
    return result


def _animation_fps(path: Path) -> float:
    with Image.open(path) as image:
        times = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            times.append(image.info.get("duration") or DEFAULT_FRAME_MS)
    return 1000 * len(times) / sum(times)


def _without_tags(
    source: "av.container.InputContainer", stream: "av.VideoStream", fps: float, container: str
) -> BrowserCopy:
    target = io.BytesIO()
    with av.open(target, "w", format=container, options={"fflags": "+bitexact"}) as copy:
        copied = copy.add_stream_from_template(stream)
        copied.metadata.clear()
        for packet in source.demux(stream):
            if packet.size:  # the last one only says that it was the last
                packet.stream = copied
                copy.mux(packet)
    return BrowserCopy(f"video/{container}", fps, target.getvalue())


def _encoded(frames: Frames, fps: float, encoder: EncoderConfig) -> BrowserCopy:
    height, width = frames.shape[1:3]
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with tempfile.TemporaryDirectory(prefix="tempprop-") as directory:
        clip = encode_clip(
            [even],
            Path(directory),
            "clip",
            fps=fps,
            num_frames=len(even),
            width=even.shape[2],
            height=even.shape[1],
            encoder=encoder,
        )
        return BrowserCopy("video/mp4", fps, clip.path.read_bytes())
