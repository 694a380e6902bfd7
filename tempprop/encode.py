"""Frames in, a verified media file out.

Frames stream into ffmpeg as fast as it takes them, so that a long clip never lies in memory. What
comes out is decoded to its end before anybody else sees it under its name.
"""

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from tempprop.digests import sha256_of, write_sums
from tempprop.encoding.command import Encoder, RawVideo, choose_encoder, encode_command
from tempprop.encoding.ffmpeg import running
from tempprop.encoding.finishing import finished_length, finished_size
from tempprop.encoding.limits import rate_problem
from tempprop.encoding.probe import Probe, probe
from tempprop.encoding.profiles import PROFILES, Profile
from tempprop.encoding.rates import frame_rate
from tempprop.errors import DiskFullError, EncodeError
from tempprop.frames import Frames
from tempprop.media_frames import PREVIEW_SUFFIX
from tempprop.provenance.claim import tags_of
from tempprop.provenance.sealing import Seal, Signature, seal_media, seal_pictures
from tempprop.spec import EncoderConfig, FinishingConfig
from tempprop.storage_faults import DISK_FULL

POSTER_QUALITY = 92
CHECKSUMS = "SHA256SUMS"

TOLERANCE = 1e-3
"""Relative rounding of rates and lengths in the container."""


@dataclass(frozen=True)
class EncodedClip:
    """A verified local media file with its poster and preview.

    Attributes:
        path: The media file; of a sequence, the directory with the files of its frames, as
            `frame_pattern` names them, and `SHA256SUMS`.
        poster_path: JPEG of frame 0.
        preview_path: Small WebP animation; None where none was asked for.
        sha256: Digest of the media file, hexadecimal; of a sequence, that of `SHA256SUMS`.
        bytes: Size of the media file, or of all files of the sequence.
        probe: What it holds.
        encoder: Who encoded it.
        signature: Where it is signed, see `tempprop.spec.Provenance`; None for nowhere.
        is_sequence: Whether each frame is a file of its own.
        seconds: Wall-clock time of encoding, probing and hashing; the time in which the frames
            were being made counts too.
    """

    path: Path
    poster_path: Path
    preview_path: Path | None
    sha256: str
    bytes: int
    probe: Probe
    encoder: Encoder
    signature: Signature | None
    is_sequence: bool
    seconds: float

    @property
    def pattern(self) -> Path:
        """The media file, or the pattern of the files of a sequence."""
        if not self.is_sequence:
            return self.path
        suffix = next(file.suffix for file in self.path.iterdir() if file.name != CHECKSUMS)
        return frame_pattern(self.path, self.path.name, suffix)


def encode_clip(
    frames: Iterable[Frames],
    directory: Path,
    name: str,
    *,
    fps: float,
    num_frames: int,
    width: int,
    height: int,
    encoder: EncoderConfig,
    finishing: FinishingConfig | None = None,
    seal: Seal | None = None,
    metadata: Mapping[str, str] | None = None,
) -> EncodedClip:
    """Encode a clip, verify it, and write a poster and a preview beside it.

    Profiles with luma and chroma are converted to and tagged as BT.709, limited range; the others
    stay RGB. The same frames, settings and ffmpeg give the same bytes.

    Args:
        frames: Chunks of shape `(frames, height, width, 3)`, uint8, RGB, in order.
        directory: Where the files go; it exists.
        name: File name without suffix.
        fps: Frames per second; kept exactly, as a fraction.
        num_frames: How many frames there have to be in all.
        width: Pixels, even.
        height: Pixels, even.
        encoder: Kind of media file, and its settings.
        finishing: Steps before encoding; None for none.
        seal: What the files say of where they come from, and who signs that; None for nothing.
        metadata: More tags to keep in the file, where its format has any.

    Returns:
        The finished files.

    Raises:
        DiskFullError: There is no room in the directory. No file is left behind.
        EncodeError: The frames are not what was announced, ffmpeg failed, or the file does not
            decode to the clip that went in. No file is left behind.
        Exception: Whatever `frames` raises; no process and no file is left behind.
    """
    started = time.monotonic()
    if Path(name).name != name:
        raise EncodeError(f"not a file name: {name!r}")
    profile, finishing = PROFILES[encoder.profile], finishing or FinishingConfig()
    video = RawVideo(width, height, num_frames, frame_rate(fps))
    if problem := rate_problem(fps, encoder, finishing):
        raise EncodeError(". ".join(problem))
    tags = {**(tags_of(seal.claim) if seal is not None else {}), **(metadata or {})}
    job = _Job(video, profile, encoder, choose_encoder(encoder), finishing, tags)
    with _workplace(directory, name) as work:
        draft, pixels = _write(frames, work, name, job)
        signature = seal_media(draft.files, seal) if seal is not None else None
        found = _proven(draft.media, job, pixels)
        with _local_files():
            digests = {file.name: sha256_of(file) for file in draft.files}
            sha256 = (
                _write_sums(work / name, digests) if profile.is_sequence else digests.popitem()[1]
            )
        if seal is not None:
            seal_pictures(draft.pictures, seal, signature, sha256)
        if draft.preview is not None:
            probe(draft.preview)
        with _local_files():
            return EncodedClip(
                poster_path=_published(draft.poster, directory),
                preview_path=_published(draft.preview, directory) if draft.preview else None,
                sha256=sha256,
                bytes=sum(file.stat().st_size for file in draft.files),
                probe=found,
                encoder=job.chosen,
                signature=signature,
                is_sequence=profile.is_sequence,
                path=_published(work / name if profile.is_sequence else draft.media, directory),
                seconds=time.monotonic() - started,
            )


@dataclass(frozen=True)
class _Job:
    """What goes in, and what has to become of it."""

    video: RawVideo
    profile: Profile
    config: EncoderConfig
    chosen: Encoder
    finishing: FinishingConfig
    tags: Mapping[str, str]


@dataclass(frozen=True)
class _Draft:
    """What ffmpeg has written: the media, or the pattern of its files, and pictures beside them."""

    media: Path
    files: tuple[Path, ...]
    poster: Path
    preview: Path | None

    @property
    def pictures(self) -> tuple[Path, ...]:
        return (self.poster,) if self.preview is None else (self.poster, self.preview)


def _write(frames: Iterable[Frames], work: Path, name: str, job: _Job) -> tuple[_Draft, str]:
    """Encode the frames, and tell the digest of their pixels."""
    media, poster = _media_in(work, name, job.profile), work / f"{name}.jpg"
    preview = work / f"{name}{PREVIEW_SUFFIX}" if job.config.preview else None
    command = encode_command(
        job.video,
        media,
        preview,
        config=job.config,
        encoder=job.chosen,
        finishing=job.finishing,
        metadata=job.tags,
    )
    pixels = hashlib.sha256()
    with running(command) as write:
        first_frame = _feed(frames, write, job.video, pixels)
    with _local_files():
        if job.config.profile == "exr":
            _turn_into_exr(work / name, job.tags)
        _write_poster(first_frame, poster)
        files = sorted((work / name).iterdir()) if job.profile.is_sequence else [media]
    return _Draft(media, tuple(files), poster, preview), pixels.hexdigest()


@contextlib.contextmanager
def _workplace(directory: Path, name: str) -> Iterator[Path]:
    """Give a hidden directory on the same disk, so that finished files are only renamed."""
    with _local_files():
        work = tempfile.TemporaryDirectory(
            prefix=f".{name}.", suffix=".partial", dir=directory, ignore_cleanup_errors=True
        )
    with work as path:
        yield Path(path)


def _media_in(work: Path, name: str, profile: Profile) -> Path:
    """Name the file that ffmpeg writes, or the pattern of the files."""
    if not profile.is_sequence:
        return work / f"{name}{profile.suffix}"
    frames = work / name
    with _local_files():
        frames.mkdir()
    return frame_pattern(frames, name, f".{profile.encoder}")


def frame_pattern(directory: Path, name: str, suffix: str) -> Path:
    """Name the files of a sequence as FFmpeg does, from 0 on.

    Returns:
        A path in whose last part `%05d` stands for the number of the frame.
    """
    return Path(str(directory).replace("%", "%%")) / f"{name.replace('%', '%%')}.%05d{suffix}"


def _feed(
    frames: Iterable[Frames],
    write: Callable[[memoryview], None],
    video: RawVideo,
    pixels: "_Digest",
) -> Frames:
    """Hand all frames over, and make sure that they are what was announced.

    Returns:
        A copy of frame 0.

    Raises:
        EncodeError: Too many or too few frames, another shape, or not uint8.
    """
    first_frame: Frames | None = None
    count = 0
    for chunk in frames:
        _check_chunk(chunk, (video.height, video.width, 3))
        count += len(chunk)
        if count > video.num_frames:
            raise EncodeError(
                f"there are more than the {video.num_frames} frames that were announced"
            )
        if first_frame is None and len(chunk):
            first_frame = chunk[0].copy()
        data = np.ascontiguousarray(chunk).reshape(-1).data
        pixels.update(data)
        write(data)
    if first_frame is None or count < video.num_frames:
        raise EncodeError(f"there are {count} frames where {video.num_frames} were announced")
    return first_frame


class _Digest(Protocol):
    def update(self, data: memoryview, /) -> None: ...


def _check_chunk(chunk: Frames, shape: tuple[int, int, int]) -> None:
    if not isinstance(chunk, np.ndarray) or chunk.dtype != np.uint8:
        kind = getattr(chunk, "dtype", type(chunk).__name__)
        raise EncodeError(f"frames have to be uint8 arrays, not {kind}")
    if chunk.shape[1:] != shape:
        raise EncodeError(
            f"frames have to have the shape (frames, {shape[0]}, {shape[1]}, 3), not {chunk.shape}"
        )


def _turn_into_exr(directory: Path, metadata: Mapping[str, str]) -> None:
    # OpenEXR is loaded by those who want it.
    from tempprop.encoding.exr import replace_by_exr  # noqa: PLC0415

    for picture in sorted(directory.iterdir()):
        replace_by_exr(picture, dict(metadata))


def _proven(media: Path, job: _Job, pixels_sha256: str) -> Probe:
    """Decode what ffmpeg has written, and make sure that it is the clip that went in.

    Raises:
        EncodeError: It does not decode, or is another clip.
    """
    video, profile, finishing = job.video, job.profile, job.finishing
    num_frames, rate = finished_length(video.num_frames, video.rate, finishing)
    width, height = finished_size(video.width, video.height, finishing)
    comes_back = profile.is_lossless and finishing == FinishingConfig()
    found = probe(media.with_suffix(profile.suffix), rate, hash_pixels=comes_back)
    if found.codec == "webp" and found.num_frames == 1:
        # Of a clip that stands still WebP keeps one picture, and no time.
        num_frames = 1
    seconds = num_frames / float(rate)
    length_tolerance = max(profile.length_tolerance_seconds, TOLERANCE * seconds)
    # A rate that is read off from rounded times is as coarse as they are.
    rate_tolerance = float(rate) * max(TOLERANCE, profile.length_tolerance_seconds / seconds)
    wrong = [
        f"{name} is {value} and not {expected}"
        for name, value, expected, tolerance in (
            ("num_frames", found.num_frames, num_frames, 0.0),
            ("width", found.width, width, 0.0),
            ("height", found.height, height, 0.0),
            ("fps", found.fps, float(rate), rate_tolerance),
            ("duration", found.duration_seconds, seconds, length_tolerance),
        )
        if abs(value - expected) > tolerance
    ]
    if found.codec != profile.codec:
        wrong.append(f"codec is {found.codec} and not {profile.codec}")
    if comes_back and found.pixels_sha256 != pixels_sha256:
        wrong.append("the pixels are not those that went in")
    if wrong:
        raise EncodeError(f"the media file is not the clip: {'; '.join(wrong)}")
    return found


@contextlib.contextmanager
def _local_files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = "could not write the media file"
        if error.errno in DISK_FULL:
            raise DiskFullError(f"{what}: the disk is full: free some space") from error
        raise EncodeError(f"{what}: {error}") from error


def _write_poster(frame: Frames, path: Path) -> None:
    with path.open("wb") as file:
        Image.fromarray(frame).save(file, format="JPEG", quality=POSTER_QUALITY)


def _write_sums(directory: Path, digests: Mapping[str, str]) -> str:
    """Write the digests of a sequence's files as `sha256sum` does.

    Returns:
        The digest of that file.
    """
    sums = directory / CHECKSUMS
    sums.write_text(write_sums(digests))
    return sha256_of(sums)


def _published(path: Path, directory: Path) -> Path:
    return path.rename(directory / path.name)
