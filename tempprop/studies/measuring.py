"""From settings to a measured study, row by row, going on where an interrupted one ended."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import JsonValue
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tempprop.families import precision_of
from tempprop.frames import Frames
from tempprop.pipeline import LoadedModel
from tempprop.prompts import PromptEncoder, prompt_encoder
from tempprop.spec import ClipSpec, RenderConfig, clip_key
from tempprop.studies.feedback import FeedbackSettings, fed_back
from tempprop.studies.films import Report, drawn_film, rendered
from tempprop.studies.metrics import METRICS_VERSION
from tempprop.studies.results import DRAWN_FILMS, Curve, Row, Study, read_study, write_study
from tempprop.studies.subjects import Subject, clip_of


@dataclass(frozen=True)
class Variant:
    """One departure from the defaults.

    Attributes:
        setting: What differs, by its name or in words; empty for the defaults themselves.
        value: What it is instead; where words name several settings, all of them by their names.
        settings: The fields of `ClipSpec` to set; None for films that the world draws.
        feedback: Of clips that are not propagated, but made by image-to-image feedback; None for
            all others.
    """

    setting: str
    value: JsonValue
    settings: Mapping[str, Any] | None
    feedback: FeedbackSettings | None = None


DEFAULTS = Variant("", None, {})
DRAWN = Variant(DRAWN_FILMS, None, None)


@dataclass(frozen=True)
class Job:
    """One row to measure.

    Attributes:
        variant: What differs from the defaults.
        specs: The clips, one a subject.
        key: Everything that the figures depend on.
    """

    variant: Variant
    specs: tuple[ClipSpec, ...]
    key: str


Dtype = Annotated[Literal["float32", "float16", "bfloat16"], typer.Option(help="Precision.")]

DTYPE: Literal["float32"] = "float32"
"""Precision of the studies, unless another is asked for."""

Figures = Callable[[Frames, Subject], Mapping[str, float | Curve]]
"""Measures one clip."""


def _job(
    model: LoadedModel, variant: Variant, cast: Sequence[Subject], common: Mapping[str, Any]
) -> Job:
    settings = {**common, **(variant.settings or {})}
    specs = tuple(clip_of(subject, str(number), **settings) for number, subject in enumerate(cast))
    config = RenderConfig.model_validate({"dtype": precision_of(model.pipeline)})
    keys = [clip_key(spec, config, model.identity) for spec in specs]
    named = f"{METRICS_VERSION} {variant.settings is None} {keys}"
    if variant.feedback is not None:
        named += variant.feedback.model_dump_json()
    return Job(variant, specs, hashlib.sha256(named.encode()).hexdigest())


def measure_study(
    model: LoadedModel,
    path: Path,
    name: str,
    variants: Sequence[Variant],
    cast: Sequence[Subject],
    figures: Figures,
    *,
    num_frames: int,
    num_inference_steps: int,
    more_options: str = "",
) -> Study:
    """Measure the rows that the file does not hold yet, and write it after every one.

    Args:
        model: What renders the clips.
        path: The file; rows in it that are not asked for are dropped.
        name: Module of the command, below `tempprop.studies`.
        variants: The rows, in order.
        cast: What the clips of every row show.
        figures: Measures a clip.
        num_frames: Length of every clip.
        num_inference_steps: Denoising steps of every clip.
        more_options: The command's options beside prompts, frames and steps.

    Returns:
        The study with all rows.
    """
    common = {"num_frames": num_frames, "num_inference_steps": num_inference_steps}
    options = f"--prompts {len(cast)} --frames {num_frames} --steps {num_inference_steps}"
    if (dtype := precision_of(model.pipeline)) != DTYPE:
        options += f" --dtype {dtype}"
    study = Study(
        command=f"python -m tempprop.studies.{name} {options} {more_options}".rstrip(),
        num_frames=num_frames,
        prompts=tuple(subject.prompt for subject in cast),
    )
    jobs = [_job(model, variant, cast, common) for variant in variants]
    before = read_study(path)
    known = {row.key: row for row in before.rows} if before is not None else {}
    encoder = prompt_encoder(model)
    with _progress(len(jobs)) as begin:
        for number, job in enumerate(jobs):
            report = begin(number, _name(job.variant))
            if job.key not in known:
                known[job.key] = _measure(model, encoder, job, cast, figures, report)
            rows = tuple(known[job.key] for job in jobs if job.key in known)
            study = study.model_copy(update={"rows": rows})
            write_study(study, path)
    return study


def _name(variant: Variant) -> str:
    value = f"{variant.value}" if isinstance(variant.value, str | float) else ""
    return f"{variant.setting} {value}".strip() or "defaults"


def _measure(
    model: LoadedModel,
    encoder: PromptEncoder,
    job: Job,
    cast: Sequence[Subject],
    figures: Figures,
    report: Report,
) -> Row:
    started = time.perf_counter()
    clips = _clips(model, encoder, job, cast, report)
    measured = tuple(
        dict(figures(clip, subject)) for clip, subject in zip(clips, cast, strict=True)
    )
    return Row(
        setting=job.variant.setting,
        value=job.variant.value,
        key=job.key,
        seconds=round(time.perf_counter() - started, 1),
        clips=measured,
    )


def _clips(
    model: LoadedModel, encoder: PromptEncoder, job: Job, cast: Sequence[Subject], report: Report
) -> list[Frames]:
    variant = job.variant
    if variant.settings is None:
        return [drawn_film(subject, job.specs[0].num_frames) for subject in cast]
    if variant.feedback is not None:
        return fed_back(model, encoder, job.specs, variant.feedback, report)
    return rendered(model, encoder, job.specs, report)


@contextmanager
def _progress(rows: int) -> Iterator[Callable[[int, str], Report]]:
    """Show a bar on standard error; yields what begins the row of a number and a name."""
    columns = (TextColumn("{task.description}"), BarColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=rows)

        def begin(row: int, name: str) -> Report:
            bar.update(task, completed=row, description=name)
            return lambda share: bar.update(task, completed=row + share)

        yield begin
        bar.update(task, completed=rows)
