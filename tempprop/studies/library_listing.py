"""What it takes to know a large library: which clips are committed, and what is said of them.

``python -m tempprop.studies.library_listing --clips 1000000`` writes so many records and their
catalog to a local disk, with empty files for media and posters, and then does what a run,
`tempprop why` and `tempprop gc` do with them. The keys are listed, the catalog is read, and only
records that no catalog part names are opened. A record takes a block of the disk, so that a million
clips need about 4 GB there, and three million inodes.
"""

import hashlib
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import torch
import typer

from tempprop.catalog import find_clip, read_catalog, write_catalog
from tempprop.orphans import find_orphans
from tempprop.spec import (
    ClipResult,
    ClipSpec,
    EncoderConfig,
    Media,
    ModelIdentity,
    StageSeconds,
)
from tempprop.store import (
    MEDIA,
    RECORDS,
    Store,
    committed_keys,
    iter_results,
    media_stem,
    open_store,
)
from tempprop.studies.peak_memory import forget_peak, peak_bytes

HOST = torch.device("cpu")

app = typer.Typer()


@dataclass(frozen=True)
class Stage:
    """One question to a library.

    Attributes:
        name: What was asked.
        seconds: How long the answer took, by the clock on the wall.
        peak_growth: Bytes by which the resident memory grew for it, at most.
    """

    name: str
    seconds: float
    peak_growth: int


def write_library(directory: Path, clips: int, newer: int) -> Store:
    """Write the records and the catalog of clips that nobody has rendered.

    Args:
        directory: An empty one, on a local disk.
        clips: How many records.
        newer: How many of them no catalog part names, as while a run is going on.

    Returns:
        The library.
    """
    store = open_store(str(directory))
    for folder in (RECORDS, MEDIA):
        (directory / folder).mkdir()
    template = _result(0)
    text = template.model_dump_json(indent=1)
    for number in range(clips):
        key, clip_id = _key(number), _clip_id(number)
        record = text.replace(template.key, key).replace(template.clip_id, clip_id)
        record = record.replace(template.key[:16], key[:16])
        (directory / RECORDS / f"{key}.json").write_text(record)
        for suffix in (".mp4", ".jpg"):
            (directory / f"{media_stem(clip_id, key)}{suffix}").touch()
    write_catalog(store, "night-1", _results(template, range(clips - newer)))
    return store


def measure_library(store: Store, clip_id: str) -> list[Stage]:
    """Ask a library what a run and the commands ask it, and measure each answer.

    Args:
        store: The library.
        clip_id: A clip to find.
    """
    stages: list[Stage] = []

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        forget_peak(HOST)
        before, started = peak_bytes(HOST), time.monotonic()
        yield
        stages.append(Stage(name, time.monotonic() - started, peak_bytes(HOST) - before))

    with stage("list the keys"):
        committed = committed_keys(store)
    with stage("read the catalog's keys"):
        catalogued = set(read_catalog(store, ["key"])["key"].to_pylist())
    with stage("read newer records"):
        for _ in iter_results(store, committed - catalogued):
            pass
    with stage("find a clip"):
        find_clip(store, clip_id)
    with stage("look for orphans"):
        orphans = find_orphans(store, timedelta())
    if orphans:
        raise AssertionError(f"{len(orphans)} media of the library are taken for orphans")
    return stages


def _results(template: ClipResult, numbers: Iterable[int]) -> Iterator[ClipResult]:
    for number in numbers:
        key, clip_id = _key(number), _clip_id(number)
        yield template.model_copy(
            update={"key": key, "clip_id": clip_id, "media": _media(template.media, clip_id, key)}
        )


def _media(template: Media, clip_id: str, key: str) -> Media:
    stem = media_stem(clip_id, key)
    return template.model_copy(update={"url": f"{stem}.mp4", "poster_url": f"{stem}.jpg"})


def _key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _clip_id(number: int) -> str:
    return f"clip-{number:07}"


def _result(number: int) -> ClipResult:
    key, clip_id = _key(number), _clip_id(number)
    spec = ClipSpec(clip_id=clip_id, prompt="a red balloon over hills", seed=1, model="mini")
    return ClipResult(
        key=key,
        clip_id=clip_id,
        spec=spec,
        model=ModelIdentity(uri="mini", pipeline_class="StableDiffusionPipeline", digest="0" * 64),
        encoder=EncoderConfig(),
        dtype="float32",
        versions={"torch": torch.__version__},
        media=Media(
            url=f"{media_stem(clip_id, key)}.mp4",
            poster_url=f"{media_stem(clip_id, key)}.jpg",
            sha256="0" * 64,
            bytes=100_000,
            codec="h264",
            width=spec.width,
            height=spec.height,
            fps=spec.fps,
            num_frames=spec.num_frames,
            duration_seconds=spec.num_frames / spec.fps,
        ),
        quality={},
        seconds=StageSeconds(),
        frames_per_batch=spec.num_frames,
        hardware={},
        run_id="night-1",
        created_at=datetime.now(UTC),
    )


@app.command()
def library_listing(
    clips: Annotated[int, typer.Option(min=1, help="Records of the library.")] = 1_000_000,
    newer: Annotated[int, typer.Option(min=0, help="Of these, records in no catalog.")] = 1000,
) -> None:
    """Measure how long it takes to know what is in a large library."""
    newer = min(newer, clips)
    with tempfile.TemporaryDirectory(prefix="tempprop-library-") as directory:
        started = time.monotonic()
        store = write_library(Path(directory), clips, newer)
        print(f"{clips:,} records written in {time.monotonic() - started:,.0f} s, {newer:,} newer")
        for stage in measure_library(store, _clip_id(0)):
            print(
                f"{stage.name:<24} {stage.seconds:8.2f} s   "
                f"peak grown by {stage.peak_growth / 1e6:6,.0f} MB"
            )


if __name__ == "__main__":
    app()
