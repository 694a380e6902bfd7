"""The training set: stills of the drawn world with captions, cached on disk."""

from __future__ import annotations

import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tempprop.mini.captions import caption
from tempprop.mini.world import CANVAS, Scene, draw, random_scene
from tempprop.whole_files import draft_of

CAPTIONS_PER_STILL = 6


def scene_at(index: int, seed: int) -> Scene:
    """Give one scene of an endless random sequence.

    Args:
        index: Position in the sequence.
        seed: Names the sequence; training uses 0, measurements use others.

    Returns:
        The scene, the same at every call.
    """
    return random_scene(random.Random(f"scene {seed} {index}"))


def captions_at(index: int, seed: int, count: int = CAPTIONS_PER_STILL) -> list[str]:
    """Give several captions of the scene that `scene_at` gives."""
    rng = random.Random(f"caption {seed} {index}")
    scene = scene_at(index, seed)
    return [caption(scene, rng) for _ in range(count)]


def draw_stills(count: int, seed: int, start: int = 0) -> NDArray[np.uint8]:
    """Draw scenes of a sequence.

    Args:
        count: How many.
        seed: The sequence.
        start: Index of the first.

    Returns:
        Pictures, shape (count, 128, 128, 3), 0 to 255.
    """
    return np.stack([draw(scene_at(start + i, seed)) for i in range(count)])


def cached_stills(path: Path, count: int, seed: int = 0, workers: int = 2) -> NDArray[np.uint8]:
    """Open a file of stills, drawing it first if it is missing.

    Args:
        path: The ``.npy`` file.
        count: How many stills; a shorter file is drawn anew.
        seed: The sequence of scenes.
        workers: Processes that draw.

    Returns:
        Pictures, shape (count, 128, 128, 3), 0 to 255, mapped from disk.
    """
    if path.exists():
        stills: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        if len(stills) >= count:
            return stills[:count]
    path.parent.mkdir(parents=True, exist_ok=True)
    chunk = 250
    starts = range(0, count, chunk)
    sizes = [min(chunk, count - start) for start in starts]
    with draft_of(path) as draft, ProcessPoolExecutor(workers) as pool:
        stills = np.lib.format.open_memmap(
            draft, mode="w+", dtype=np.uint8, shape=(count, CANVAS, CANVAS, 3)
        )
        drawn = pool.map(draw_stills, sizes, [seed] * len(sizes), starts)
        for start, pictures in zip(starts, drawn, strict=True):
            stills[start : start + len(pictures)] = pictures
        stills.flush()
    cached: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return cached
