"""Clips as files: a directory, a glob or an output location of tempprop, on any fsspec URI.

The clips of an output location are those that its records tell of, with their prompts; any other
directory is searched through for media files. A clip's name is what the same clip is called in
every source: its clip_id, or its path below the source without the suffix.
"""

import posixpath
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from fsspec.implementations.local import LocalFileSystem

from tempprop.digests import sha256_of
from tempprop.errors import ClipError
from tempprop.frames import Frames
from tempprop.media_frames import ANIMATION_SUFFIXES, PREVIEW_SUFFIX, is_sequence, iter_frames
from tempprop.objects import Store, open_filesystem
from tempprop.spec import ClipResult
from tempprop.storage_faults import diagnose, display_uri, is_missing, one_line
from tempprop.store import RECORDS, iter_results, open_readable

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", *ANIMATION_SUFFIXES)

KINDS = ", ".join(suffix[1:] for suffix in SUFFIXES)


@dataclass(frozen=True)
class ClipFile:
    """Where a clip lies.

    Attributes:
        name: What the same clip is called in every source.
        uri: Where it lies, without credentials, for messages.
        path: Its path in the filesystem.
        filesystem: The fsspec filesystem that holds it.
        prompt: What it shows from its first frame to its last; None where nobody says so.
        sha256: Digest of its file, hexadecimal; None where it is not known without reading.
        fps: Frames per second; None where only the file itself says.
    """

    name: str
    uri: str
    path: str
    filesystem: Any = field(repr=False, compare=False)
    prompt: str | None = None
    sha256: str | None = None
    fps: float | None = None


def find_clips(source: str) -> list[ClipFile]:
    """List the clips of a source, sorted by name.

    Of several takes of a clip in an output location the newest one counts.

    Args:
        source: Path or URI of a directory, which is searched through, of a file, or of an output
            location of tempprop; or a glob.

    Returns:
        At least one clip.

    Raises:
        ClipError: There are no clips, or they cannot be listed.
        StoreInputError: An output location does not answer.
        StoreError: A record of an output location is damaged.
    """
    shown = display_uri(source)
    if not source.strip():
        raise ClipError("a source of clips has no name. Give a directory, a glob or a URI")
    try:
        filesystem, root = open_filesystem(source)
        is_output = filesystem.isdir(f"{root}/{RECORDS}")
        base, paths = (root, []) if is_output else _media_files(filesystem, root)
    except Exception as error:  # every fsspec driver raises its own
        _, reason, remedy = diagnose(error)
        raise ClipError(
            f"{shown} cannot be listed: {reason} ({one_line(error)}). {remedy}"
        ) from error
    clips = _committed(open_readable(source)) if is_output else _named(filesystem, base, paths)
    if not clips:
        raise ClipError(
            f"there are no clips at {shown}: no {KINDS}, in a directory, below it or under a glob "
            "of that name, and no output location. Check the path"
        )
    return sorted(clips, key=lambda clip: clip.name)


def _media_files(filesystem: Any, root: str) -> tuple[str, list[str]]:
    """Give what the names of media files are relative to, and the files."""
    if filesystem.isfile(root):
        return posixpath.dirname(root), [root] if root.lower().endswith(SUFFIXES) else []
    if filesystem.isdir(root):
        return root, [path for path in filesystem.find(root) if _is_clip(path, root)]
    if not any(mark in root for mark in "*?["):
        return root, []
    fixed = posixpath.dirname(root[: min(root.index(mark) for mark in "*?[" if mark in root)])
    found = [path for path in filesystem.glob(root) if _is_clip(path, fixed)]
    return fixed, [path for path in found if filesystem.isfile(path)]


def _is_clip(path: str, root: str) -> bool:
    parts = posixpath.relpath(path, root or "/").split("/")
    hidden = any(part.startswith(".") for part in parts)
    # Previews lie beside the clips that they are previews of.
    return not hidden and path.lower().endswith(SUFFIXES) and not path.endswith(PREVIEW_SUFFIX)


def _named(filesystem: Any, base: str, paths: list[str]) -> list[ClipFile]:
    relative = [posixpath.relpath(path, base or "/") for path in paths]
    stems = Counter(posixpath.splitext(name)[0] for name in relative)
    return [
        ClipFile(
            # Two files of one name, such as a.mp4 and a.gif, keep their suffixes.
            name=stem if stems[stem := posixpath.splitext(name)[0]] == 1 else name,
            uri=_shown(filesystem, path),
            path=path,
            filesystem=filesystem,
        )
        for name, path in zip(relative, paths, strict=True)
    ]


def _shown(filesystem: Any, path: str) -> str:
    return path if isinstance(filesystem, LocalFileSystem) else filesystem.unstrip_protocol(path)


def _committed(store: Store) -> list[ClipFile]:
    newest: dict[str, ClipResult] = {}
    for result in iter_results(store):
        known = newest.get(result.clip_id)
        if known is None or result.created_at > known.created_at:
            newest[result.clip_id] = result
    return [_of_record(store, result) for result in newest.values()]


def _of_record(store: Store, result: ClipResult) -> ClipFile:
    return ClipFile(
        name=result.clip_id,
        uri=f"{store.uri.rstrip('/')}/{result.media.url}",
        path=store.path(result.media.url),
        filesystem=store.fs,
        prompt=None if result.spec.prompts else result.spec.prompt,
        sha256=result.media.sha256,
        fps=result.media.fps,
    )


@contextmanager
def local_copy(clip: ClipFile) -> Iterator[Path]:
    """Give a local file with a clip, for the time of a `with` block.

    Raises:
        ClipError: It is not there, or cannot be fetched.
    """
    if isinstance(clip.filesystem, LocalFileSystem):
        yield Path(clip.path)
        return
    with tempfile.TemporaryDirectory(prefix="tempprop-") as directory:
        path = Path(directory) / posixpath.basename(clip.path)
        try:
            for source in _files_of(clip):
                clip.filesystem.get_file(source, str(path.with_name(posixpath.basename(source))))
        except Exception as error:  # every fsspec driver raises its own
            reason = "it is not there" if is_missing(error) else diagnose(error)[1]
            raise ClipError(f"{reason} ({one_line(error)})") from error
        yield path


def _files_of(clip: ClipFile) -> list[str]:
    """List the files that a clip consists of: itself, or those of its frames."""
    if not is_sequence(clip.path):
        return [clip.path]
    folder, _, pattern = clip.path.rpartition("/")
    suffix = posixpath.splitext(pattern)[1]
    listed = clip.filesystem.ls(folder, detail=False)
    return [str(path) for path in listed if path.endswith(suffix)]


def identified(clip: ClipFile, path: Path) -> ClipFile:
    """Read what a clip's own file says about it: its digest, and its prompt.

    Args:
        clip: Where it lies; what is known about it stays.
        path: A local copy.

    Raises:
        ClipError: The file cannot be read.
    """
    try:
        prompt = clip.prompt or _prompt_in(path) or None
        return replace(clip, sha256=clip.sha256 or sha256_of(path), prompt=prompt)
    except OSError as error:
        raise ClipError(f"it cannot be read ({one_line(error)})") from error


def _prompt_in(path: Path) -> str | None:
    """Read the tag that `tempprop preview` writes; Matroska writes its name in capitals."""
    if path.suffix.lower() in ANIMATION_SUFFIXES:
        return None
    try:
        with av.open(str(path)) as container:
            return {key.lower(): value for key, value in container.metadata.items()}.get("prompt")
    except av.FFmpegError:
        return None


def read_clip(path: Path, most: int | None = None, fps: float | None = None) -> Frames:
    """Decode a clip.

    Args:
        path: What `tempprop.media_frames` reads.
        most: How many frames to decode, from the beginning; None for all.
        fps: Frames per second, as `tempprop.media_frames` wants them of animations.

    Returns:
        At least one frame, `(frames, height, width, 3)`, uint8, RGB.

    Raises:
        ClipError: It does not decode, or its frames differ in size.
    """
    try:
        return np.stack(list(islice(iter_frames(path, fps), most)))
    except ValueError as error:
        raise ClipError(f"it has no frames, or frames of several sizes ({error})") from error
