"""Clips as files that keep every pixel: FFV1 in Matroska.

FFV1 (RFC 9043) is the lossless codec of film archives; `bgr0` holds RGB as it is, without a change
to another color space.
"""

from pathlib import Path

import av

from tempprop.encoding.rates import frame_rate
from tempprop.errors import ClipError, InputError
from tempprop.evaluation.clip_files import read_clip
from tempprop.frames import Frames
from tempprop.whole_files import draft_of

SUFFIX = ".mkv"


def write_lossless(frames: Frames, path: Path, fps: float) -> None:
    """Write a clip; a file that is there is replaced as a whole.

    Args:
        frames: Shape `(frames, height, width, 3)`, RGB, 0 to 255, at least one.
        path: The file, which should end in `.mkv`.
        fps: Frames per second.
    """
    with draft_of(path) as draft, av.open(str(draft), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=frame_rate(fps))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def read_frames(path: Path) -> Frames:
    """Read all frames of a clip, whatever it is encoded with.

    Raises:
        InputError: There is no such file, or it is no film.
    """
    try:
        return read_clip(path)
    except ClipError as error:
        raise InputError(f"{path} cannot be read as a film: {error}. Give another file") from error
