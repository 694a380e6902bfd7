"""Encodes a clip by every profile, and tells size, time and likeness.

``python -m tempprop.studies.media_sizes CLIP --size 512`` prints the table in `docs/media.md`.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from tempprop.encode import encode_clip
from tempprop.encoding.profiles import PROFILES, ProfileName
from tempprop.frames import Frames
from tempprop.lossless import read_frames
from tempprop.media_frames import iter_frames
from tempprop.quality import measure_psnr
from tempprop.spec import EncoderConfig

app = typer.Typer()

REFERENCE: ProfileName = "h264"


@dataclass(frozen=True)
class Encoded:
    """What one profile makes of the clip.

    Attributes:
        profile: Its name.
        bytes: Of the file, or of all files of the sequence.
        seconds: Of encoding and proving, without a preview.
        psnr: Decibels between all frames and those that went in; infinite where they are the same.
    """

    profile: ProfileName
    bytes: int
    seconds: float
    psnr: float


def encode_by(profile: ProfileName, frames: Frames, fps: float, repeats: int) -> Encoded:
    """Encode a clip by a profile with its defaults.

    Args:
        profile: Its name.
        frames: `(frames, height, width, 3)`, uint8, RGB, of even width and height.
        fps: Frames per second.
        repeats: How often; the fastest counts.
    """
    num_frames, height, width, _ = frames.shape
    with tempfile.TemporaryDirectory(prefix="tempprop-") as directory:
        clips = [
            encode_clip(
                [frames],
                Path(directory),
                f"clip-{number}",
                fps=fps,
                num_frames=num_frames,
                width=width,
                height=height,
                encoder=EncoderConfig(profile=profile, preview=False),
            )
            for number in range(repeats)
        ]
        clip = min(clips, key=lambda clip: clip.seconds)
        likeness = measure_psnr(zip(frames, iter_frames(clip.pattern, fps), strict=True))
    return Encoded(profile, clip.bytes, clip.seconds, likeness.mean)


def resized(frames: Frames, size: int) -> Frames:
    """Give frames another size, by a Lanczos filter.

    Args:
        frames: `(frames, height, width, 3)`, uint8.
        size: Pixels of the longer side; both sides become even.
    """
    height, width = frames.shape[1:3]
    factor = size / max(height, width)
    to = (2 * round(width * factor / 2), 2 * round(height * factor / 2))
    pictures = (Image.fromarray(frame) for frame in frames)
    return np.stack([np.asarray(each.resize(to, Image.Resampling.LANCZOS)) for each in pictures])


@app.command()
def media_sizes(
    clip: Annotated[Path, typer.Argument(help="A media file of this machine.")],
    size: Annotated[
        int | None, typer.Option(min=16, help="Pixels of the longer side; as it is without.")
    ] = None,
    fps: Annotated[float, typer.Option(help="Frames per second.")] = 24.0,
    repeats: Annotated[int, typer.Option(min=1, help="Times; the fastest counts.")] = 3,
) -> None:
    """Encode a clip by every profile, and tell size, time and likeness."""
    frames = read_frames(clip)
    frames = resized(frames, size or max(frames.shape[1:3]))
    rows = [encode_by(profile, frames, fps, repeats) for profile in PROFILES]
    reference = next(row for row in rows if row.profile == REFERENCE)
    num_frames, height, width, _ = frames.shape
    title = f"{num_frames} frames of {width} x {height}, {frames.nbytes:,} bytes of pixels"
    table = Table("profile", "kB a frame", "size", "time", "PSNR", title=title)
    for row in rows:
        table.add_row(
            row.profile,
            f"{row.bytes / num_frames / 1000:.1f}",
            f"{row.bytes / reference.bytes:.2f}",
            f"{row.seconds / reference.seconds:.2f}",
            f"{row.psnr:.1f} dB" if np.isfinite(row.psnr) else "the same",
        )
    Console().print(table)


if __name__ == "__main__":
    app()
