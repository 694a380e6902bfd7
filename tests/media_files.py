"""Small media files of every kind that is read, and output locations that hold real ones."""

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from records import result_of

from tempprop.encode import encode_clip
from tempprop.media_objects import upload_media
from tempprop.spec import ClipResult, EncoderConfig
from tempprop.store import Store, commit

CODECS = {
    ".mp4": ("libx264", "yuv420p"),
    ".mov": ("libx264", "yuv420p"),
    ".mkv": ("ffv1", "bgr0"),
    ".webm": ("libvpx-vp9", "yuv420p"),
    ".avi": ("ffv1", "yuv420p"),
}


def write_clip(path: Path, frames: np.ndarray, prompt: str | None = None) -> Path:
    """Write frames as the suffix says; Matroska, GIF (of few colors) and WebP without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".gif", ".webp"):
        first, *others = map(Image.fromarray, frames)
        options = {"lossless": True} if path.suffix == ".webp" else {}
        first.save(path, save_all=True, append_images=others, duration=125, loop=0, **options)
        return path
    codec, pixels = CODECS[path.suffix]
    with av.open(str(path), "w") as container:
        if prompt is not None:
            container.metadata["prompt"] = prompt
        stream = container.add_stream(codec, rate=Fraction(8))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def commit_clip(store: Store, clip_id: str, frames: np.ndarray, **changes: object) -> ClipResult:
    """Encode and commit a clip as a run does; `take`, `minute` and its spec may change."""
    record = {name: changes.pop(name) for name in ("take", "minute") if name in changes}
    result = result_of(clip_id, **record)
    with tempfile.TemporaryDirectory() as directory:
        encoded = encode_clip(
            [frames],
            Path(directory),
            "clip",
            fps=8.0,
            num_frames=len(frames),
            height=frames.shape[1],
            width=frames.shape[2],
            encoder=EncoderConfig(),
        )
        media = upload_media(store, encoded, clip_id, result.key)
    spec = result.spec.model_copy(update=changes)
    return commit(store, result.model_copy(update={"media": media, "spec": spec}))
