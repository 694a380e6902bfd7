"""Clips that were given up half way, in the store, for whoever goes on with them.

    OUT/unfinished/<key>.zip

One object holds all that it takes: the frames that are done, without loss; what the rest of the
clip goes on from, see `tempprop.checkpoint`; and what the frames took. It may be removed at any
time: the clip is then rendered from its beginning.
"""

import json
import logging
import shutil
import zipfile
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempprop.errors import InputError
from tempprop.frames import FrameChunk, Frames
from tempprop.lossless import read_frames, write_lossless
from tempprop.objects import Store, fetch_file, put_file, remove_object
from tempprop.spec import ClipSpec
from tempprop.store import keys_in, record_name

if TYPE_CHECKING:
    from tempprop.checkpoint import ClipState

UNFINISHED, SUFFIX = "unfinished", ".zip"
FRAMES, STATE, COSTS = "frames.mkv", "state.safetensors", "costs.json"
SUMS = ("denoise_seconds", "decode_seconds", "frame_steps", "frame_steps_lowered")
"""What of a `FrameChunk` adds up over a clip."""

logger = logging.getLogger("tempprop.worker")


class DoneFrames:
    """The frames of a clip in work, on the local disk, in case that the clip is given up.

    Args:
        spec: The clip.
        directory: Where they are kept; whoever made it removes it.
    """

    def __init__(self, spec: ClipSpec, directory: Path) -> None:
        self._spec = spec
        self._path = directory / "done.rgb"
        self._sums = dict.fromkeys(SUMS, 0.0)
        self._state: ClipState | None = None
        self._costs: dict[str, float] = {}

    def kept(self, chunks: Generator[FrameChunk, None, None]) -> Generator[FrameChunk, None, None]:
        """Pass all frames on, and keep them."""
        with closing(chunks):
            for chunk in chunks:
                self._add(chunk)
                yield chunk

    def save(self, store: Store, key: str) -> int:
        """Put what a clip goes on from into the store, over what was there.

        Args:
            store: Where to.
            key: Content key of the clip.

        Returns:
            How many frames are saved; 0 where there is nothing to go on from yet, and nothing was
            written.

        Raises:
            StoreInputError: The location cannot be written.
            StoreError: The disk is full, or the store did not do its part before the deadline.
        """
        if self._state is None:
            return 0
        from tempprop.checkpoint import save_checkpoint  # noqa: PLC0415 - it needs PyTorch

        directory = self._path.parent
        save_checkpoint(directory / STATE, self._state, key)
        write_lossless(self._frames(self._state.next_frame), directory / FRAMES, self._spec.fps)
        (directory / COSTS).write_text(json.dumps(self._costs))
        # What is in it is compressed already.
        with zipfile.ZipFile(directory / "unfinished.zip", "w") as archive:
            for name in (FRAMES, STATE, COSTS):
                archive.write(directory / name, name)
        put_file(store, directory / "unfinished.zip", _name(key))
        return self._state.next_frame

    def _add(self, chunk: FrameChunk) -> None:
        if chunk.first_frame + len(chunk.frames) == self._spec.num_frames:
            # Nothing goes on from the end, so that a clip in one piece is not written at all.
            return
        with self._path.open("ab") as file:
            chunk.frames.tofile(file)
        for name in SUMS:
            self._sums[name] += getattr(chunk, name)
        if chunk.state is not None:
            self._state = chunk.state
            self._costs = self._sums | {"frames_per_batch": chunk.frames_per_batch}

    def _frames(self, count: int) -> Frames:
        shape = (count, self._spec.height, self._spec.width, 3)
        return np.memmap(self._path, np.uint8, "r", shape=shape)


def unfinished_keys(store: Store) -> set[str]:
    """List the keys of the clips with which somebody may go on.

    Raises:
        StoreInputError: The location cannot be listed.
        StoreError: The store did not answer before the deadline.
    """
    return keys_in(store, UNFINISHED, SUFFIX)


def load_unfinished(store: Store, spec: ClipSpec, key: str, directory: Path) -> FrameChunk | None:
    """Fetch what a clip goes on from.

    Args:
        store: Where from.
        spec: The clip.
        key: Its content key.
        directory: An empty one, for what is fetched.

    Returns:
        Its frames so far, with the state that the others go on from; None where there are none, or
        where they cannot be used, which is logged.

    Raises:
        StoreError: The store did not answer before the deadline.
    """
    directory.mkdir(exist_ok=True)
    try:
        fetch_file(store, _name(key), directory / "unfinished.zip")
    except FileNotFoundError:
        return None
    try:
        return _read(spec, key, directory)
    except (InputError, OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        logger.warning(
            "clip %r is rendered from its beginning, since what is left of an earlier attempt "
            "cannot be used: %s",
            spec.clip_id,
            error,
        )
        return None


def remove_unfinished(store: Store, key: str) -> None:
    """Remove what a clip went on from; nothing there is fine.

    Raises:
        StoreError: The store did not answer before the deadline.
    """
    remove_object(store, _name(key))


def _read(spec: ClipSpec, key: str, directory: Path) -> FrameChunk:
    from tempprop.checkpoint import load_checkpoint  # noqa: PLC0415 - it needs PyTorch

    with zipfile.ZipFile(directory / "unfinished.zip") as archive:
        for name in (FRAMES, STATE):
            with archive.open(name) as source, (directory / name).open("wb") as target:
                shutil.copyfileobj(source, target)
        costs = json.loads(archive.read(COSTS))
    state, frames = load_checkpoint(directory / STATE, key), read_frames(directory / FRAMES)
    if frames.shape != (state.next_frame, spec.height, spec.width, 3):
        raise ValueError(f"it holds {frames.shape} pixels, and {state.next_frame} frames are done")
    return FrameChunk(
        clip_id=spec.clip_id,
        first_frame=0,
        frames=frames,
        denoise_seconds=float(costs["denoise_seconds"]),
        decode_seconds=float(costs["decode_seconds"]),
        frames_per_batch=int(costs["frames_per_batch"]),
        frame_steps=int(costs["frame_steps"]),
        frame_steps_lowered=int(costs["frame_steps_lowered"]),
        state=state,
    )


def _name(key: str) -> str:
    return record_name(UNFINISHED, key, SUFFIX)
