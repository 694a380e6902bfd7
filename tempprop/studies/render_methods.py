"""Renders the clips of every method, to be compared.

``python -m tempprop.studies.render_methods OUT`` writes one directory a method, with one lossless
clip a prompt, and beside each a JSON file that says what the method was asked for and what it cost.
Interrupted, it goes on where it was.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tempprop.errors import InputError
from tempprop.families import precision_of
from tempprop.frames import Frames
from tempprop.lossless import SUFFIX, read_frames, write_lossless
from tempprop.pipeline import load_pipeline
from tempprop.prompts import prompt_encoder
from tempprop.spec import ClipSettings
from tempprop.studies.measuring import DTYPE, Dtype
from tempprop.studies.method_records import MethodRecord, continued, write_record
from tempprop.studies.methods import Edit, Method, Shot, Studio, methods
from tempprop.studies.peak_memory import forget_peak, peak_bytes
from tempprop.studies.takes import Cast, Take, cast_from_file, drawn_cast, keep_takes

SHAPING_LIBRARIES = ("tempprop", "torch", "diffusers", "transformers")

DEFAULTS = ClipSettings()

Report = Callable[[str, int, int], None]
"""Takes the name of a method, how many of its clips are there, and how many there will be."""

app = typer.Typer()


@app.command()
def render_methods(
    out: Annotated[Path, typer.Argument(help="Directory of the clips.")],
    method: Annotated[
        str | None, typer.Option("--methods", help="Names, with commas between; all by default.")
    ] = None,
    clips: Annotated[
        int | None, typer.Option(min=1, help="Clips a method: 256, or the lines of --prompts.")
    ] = None,
    frames: Annotated[int, typer.Option(min=2, help="Frames a clip.")] = DEFAULTS.num_frames,
    steps: Annotated[int, typer.Option(min=1)] = DEFAULTS.num_inference_steps,
    width: Annotated[int, typer.Option(help="Pixels.")] = DEFAULTS.width,
    height: Annotated[int, typer.Option(help="Pixels.")] = DEFAULTS.height,
    guidance_scale: Annotated[float, typer.Option()] = DEFAULTS.guidance_scale,
    fps: Annotated[float, typer.Option(help="Frames per second of the files.")] = DEFAULTS.fps,
    model: Annotated[str, typer.Option(help="mini, a directory or a hub id.")] = "mini",
    dtype: Dtype = DTYPE,
    prompts: Annotated[
        Path | None, typer.Option(help="JSON Lines of clip, prompt, seed and film.")
    ] = None,
    frames_per_batch: Annotated[int, typer.Option(min=1, help="Denoised together.")] = 16,
    device: Annotated[str | None, typer.Option(help="By default the GPU, if any.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of PyTorch.")] = None,
) -> None:
    """Render the same prompts under the same seeds by every method."""
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        common = ClipSettings(
            num_frames=frames,
            num_inference_steps=steps,
            width=width,
            height=height,
            guidance_scale=guidance_scale,
            fps=fps,
        )
        table = methods(common)
        chosen = choose(method, table)
        cast = drawn_cast(clips or 256) if prompts is None else cast_from_file(prompts, clips)
        keep_takes(cast, out)
        loaded = load_pipeline(model, dtype=dtype, device=device)
        studio = Studio(loaded, prompt_encoder(loaded), common, frames_per_batch)
        with _progress() as report:
            for name in chosen:
                render_method(studio, table, name, cast, out, report)
    except (InputError, ValidationError) as error:
        raise typer.BadParameter(str(error)) from error
    print(out)


def choose(names: str | None, table: Mapping[str, Method]) -> list[str]:
    """Give the chosen methods, and those of whose clips they are made, which come first.

    Args:
        names: With commas between; None for all.
        table: All methods.

    Raises:
        InputError: There is no such method.
    """
    wanted = set(table if names is None else (name.strip() for name in names.split(",")))
    if unknown := sorted(wanted - set(table)):
        raise InputError(f"there is no method {unknown[0]!r}. Choose from {', '.join(table)}")
    wanted |= {method.source for name in wanted if isinstance(method := table[name], Edit)}
    in_order = [name for name in table if name in wanted]
    return sorted(in_order, key=lambda name: isinstance(table[name], Edit))


def render_method(
    studio: Studio,
    table: Mapping[str, Method],
    name: str,
    cast: Cast,
    out: Path,
    report: Report = lambda name, done, total: None,
) -> None:
    """Make the clips of a method that are not there yet.

    The record is written after every few clips: at most these are lost to an interruption.

    Args:
        studio: What makes them.
        table: All methods.
        name: The method.
        cast: What the clips show.
        out: Directory of all methods.
        report: Is told how many clips there are.

    Raises:
        InputError: There are clips that were asked for differently, or the method cannot make any.
    """
    method, directory = table[name], out / name
    takes, path = _takes_of(method, cast), out / f"{name}.json"
    record = continued(path, _fresh_record(studio, name, method))
    directory.mkdir(parents=True, exist_ok=True)
    missing = [take for take in takes if not clip_file(directory, take).exists()]
    report(name, len(takes) - len(missing), len(takes))
    at_a_time = _clips_at_a_time(studio, method)
    for start in range(0, len(missing), at_a_time):
        few = missing[start : start + at_a_time]
        forget_peak(studio.model.device)
        started = time.perf_counter()
        clips = _clips_of(studio, method, few, out)
        seconds = time.perf_counter() - started
        for take, clip in zip(few, clips, strict=True):
            write_lossless(clip, clip_file(directory, take), studio.common.fps)
        num_frames = sum(len(clip) for clip in clips)
        record = record.after(num_frames, seconds, peak_bytes(studio.model.device))
        write_record(record, path)
        report(name, len(takes) - len(missing) + start + len(few), len(takes))


def clip_file(directory: Path, take: Take) -> Path:
    """Where the clip of a take lies in the directory of a method."""
    return directory / f"{take.name}{SUFFIX}"


def _takes_of(method: Method, cast: Cast) -> Sequence[Take]:
    if isinstance(method, Edit) or not method.of_others:
        return cast.takes
    if len(cast.others) < len(cast.takes):
        raise InputError(
            f"for the reference there are {len(cast.others)} further prompts with films, not "
            f"{len(cast.takes)}. Add lines, give fewer --clips, or leave the reference out"
        )
    return cast.others


def _clips_at_a_time(studio: Studio, method: Method) -> int:
    """Tell how many clips fill a batch."""
    if isinstance(method, Shot) and method.side_by_side:
        return studio.frames_per_batch
    return max(1, studio.frames_per_batch // studio.common.num_frames)


def _clips_of(studio: Studio, method: Method, takes: Sequence[Take], out: Path) -> list[Frames]:
    if isinstance(method, Shot):
        return method.make(studio, takes)
    source = out / method.source
    return [method.change(read_frames(clip_file(source, take)), take) for take in takes]


def _fresh_record(studio: Studio, name: str, method: Method) -> MethodRecord:
    device = studio.model.device
    return MethodRecord(
        method=name,
        what=method.what,
        settings=method.settings if isinstance(method, Shot) else {"of": method.source},
        common=studio.common,
        model=studio.model.identity,
        dtype=precision_of(studio.model.pipeline),
        versions={library: version(library) for library in SHAPING_LIBRARIES},
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
        frames_per_batch=studio.frames_per_batch,
    )


@contextmanager
def _progress() -> Iterator[Report]:
    """Show a bar a method on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield report


if __name__ == "__main__":
    app()
