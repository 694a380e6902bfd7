"""Made-up records of clips, and a disk that is nearly full."""

import hashlib
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tempprop.encode import EncodedClip
from tempprop.encoding.command import Encoder
from tempprop.encoding.probe import Probe
from tempprop.spec import (
    Attempt,
    ClipFailure,
    ClipResult,
    ClipSpec,
    EncoderConfig,
    Media,
    ModelIdentity,
    StageSeconds,
)

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


def key_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def spec_of(clip_id: str) -> ClipSpec:
    return ClipSpec(clip_id=clip_id, prompt=f"{clip_id}, ü", seed=7, model="mini", tags={"a": "b"})


def result_of(clip_id: str, take: str = "", run_id: str = "night-1", minute: int = 0) -> ClipResult:
    return ClipResult(
        key=key_of(clip_id + take),
        clip_id=clip_id,
        spec=spec_of(clip_id),
        model=ModelIdentity(uri="mini", pipeline_class="StableDiffusionPipeline", digest="d" * 64),
        encoder=EncoderConfig(),
        dtype="float32",
        versions={"torch": "2"},
        media=Media(
            url=f"media/{clip_id}.mp4",
            poster_url=f"media/{clip_id}.jpg",
            sha256="e" * 64,
            bytes=1000,
            codec="h264",
            width=64,
            height=48,
            fps=23.976023976023978,
            num_frames=16,
            duration_seconds=2.0,
        ),
        quality={"color_drift": 0.25, "motion_floor_acted": 0.5},
        seconds=StageSeconds(denoise=1.5),
        frames_per_batch=16,
        hardware={"host": "node-1"},
        run_id=run_id,
        created_at=MIDNIGHT + timedelta(minutes=minute, microseconds=5),
    )


def failure_of(clip_id: str, take: str = "", minute: int = 0) -> ClipFailure:
    return ClipFailure(
        key=key_of(clip_id + take),
        clip_id=clip_id,
        spec=spec_of(clip_id),
        error_class="RenderError",
        message="no",
        traceback="",
        attempts=(Attempt(kind="unknown", error_class="RenderError", message="no", worker="w0"),),
        run_id="night-1",
        created_at=MIDNIGHT + timedelta(minutes=minute),
    )


def encoded_of(directory: Path, content: bytes, name: str = "clip") -> EncodedClip:
    """Write two small files and call them an encoded clip."""
    path, poster = directory / f"{name}.mp4", directory / f"{name}.jpg"
    path.write_bytes(content)
    poster.write_bytes(b"poster of " + content[:100])
    return EncodedClip(
        path=path,
        poster_path=poster,
        preview_path=None,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        probe=Probe("h264", "yuv420p", 64, 48, 8.0, 16, 2.0),
        encoder=Encoder("libx264"),
        signature=None,
        is_sequence=False,
        seconds=0.1,
    )


@contextmanager
def small_disk(directory: Path, size: int) -> Iterator[Path]:
    """Give a directory that takes `size` bytes: a tmpfs, or a limit where one may not mount."""
    disk = directory / "small-disk"
    disk.mkdir()
    mount = shutil.which("mount") or "mount"
    command = [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode == 0:
        try:
            yield disk
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield disk
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
