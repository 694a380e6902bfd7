"""The command line, the top floor of the house."""

import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tempprop.errors import InputError, Interrupted, TempPropError

EXIT_FAILED_CLIPS = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Render video clips with image diffusion models, by the manifest.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)
manifest_app = typer.Typer(help="Make manifests.", no_args_is_help=True)
models_app = typer.Typer(
    help="Show which models and configurations there are.", no_args_is_help=True
)
app.add_typer(manifest_app, name="manifest")
app.add_typer(models_app, name="models")

ManifestArgument = Annotated[
    str,
    typer.Argument(help="Parquet file, directory or glob; a path or a URI.", show_default=False),
]
OutArgument = Annotated[str, typer.Argument(help="Output location; a path or a URI.")]
OutOption = Annotated[str, typer.Option("--out", help="Output location; a path or a URI.")]
ConfigOption = Annotated[
    str, typer.Option("--config", "-c", help="Name or YAML file of a configuration.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one value, as in --set clip.fps=12. Repeatable."),
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Take only the first N clips.")]
WhereOption = Annotated[
    str | None, typer.Option(help="SQL condition over the columns, as in \"project = 'spring'\".")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
def render(
    manifest: ManifestArgument,
    out: OutOption,
    config: ConfigOption = "mini",
    changes: SetOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many worker processes.")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Running Ray cluster; without it a private Ray is started.")
    ] = None,
    limit: LimitOption = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render every clip of a manifest that is not in the output yet.

    Example: [bold]tempprop render clips.parquet --out s3://bucket/library --config sdxl[/bold]
    """
    overrides = [*(changes or []), *([f"workers.num_workers={workers}"] if workers else [])]
    _check_before_starting(manifest, out, config, overrides)
    _prepare_prefect()
    from flows.display import batch_display
    from flows.events import BatchSummary, Ended, Event, observed_by
    from flows.render import render_batch

    summaries: list[BatchSummary] = []

    def note_summary(event: Event) -> None:
        if isinstance(event, Ended):
            summaries.append(event.summary)

    with batch_display() as show:

        def observe(event: Event) -> None:
            show(event)
            note_summary(event)

        with observed_by(observe):
            state = render_batch(
                manifest=manifest,
                out=out,
                config=config,
                overrides=overrides,
                ray_address=ray_address,
                limit=limit,
                where=where,
                return_state=True,
            )
    if not summaries:
        state.result()
        raise TempPropError(f"the batch ended as {state.name}: {state.message}")
    summary = summaries[-1]
    print_summary(summary, as_json)
    if summary.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if summary.failed:
        raise typer.Exit(EXIT_FAILED_CLIPS)


@app.command()
def plan(
    manifest: ManifestArgument,
    out: OutOption,
    config: ConfigOption = "mini",
    changes: SetOption = None,
    limit: LimitOption = None,
    where: WhereOption = None,
    workers: Annotated[int, typer.Option(min=1, help="Workers to estimate for.")] = 1,
    cost_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Price of one worker for one hour.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what would be rendered, what is done, and how long the rest takes.

    Times come from the clips that are in the output already.

    Example: [bold]tempprop plan clips.parquet --out library --workers 8[/bold]
    """
    from tempprop.estimate import estimate_batch

    estimate = estimate_batch(
        manifest, out, _load_config(config, changes), limit, where, workers, cost_per_hour
    )
    _print_facts("Plan", estimate, as_json)


@app.command()
def validate(
    manifest: ManifestArgument, config: ConfigOption = "mini", changes: SetOption = None
) -> None:
    """List every problem of a manifest.

    Example: [bold]tempprop validate clips.parquet[/bold]
    """
    from tempprop.manifest import validate_manifest

    summary = validate_manifest(manifest, _load_config(config, changes))
    print(f"{manifest}: {summary.num_clips} clips, no problems")


@app.command()
def preview(
    prompt: Annotated[str, typer.Argument(help="What the clip shows.")],
    out: Annotated[Path, typer.Option("--out", help="The .mp4 file to write.")],
    config: ConfigOption = "mini",
    changes: SetOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Key of the noise.")] = 0,
) -> None:
    """Render one clip in this process, without Ray and without Prefect.

    Example: [bold]tempprop preview "a red balloon over green hills" --out balloon.mp4[/bold]
    """
    from tempprop.preview import preview_clip

    encoded = preview_clip(prompt, out, _load_config(config, changes), seed)
    print(
        f"{encoded.path}: {encoded.num_frames} frames, "
        f"{encoded.width}x{encoded.height}, {encoded.duration_seconds:.1f} s"
    )


@app.command()
def status(out: OutArgument, as_json: JsonOption = False) -> None:
    """Count what is in an output location, and show its latest run.

    Example: [bold]tempprop status s3://bucket/library[/bold]
    """
    from tempprop.inspection import output_status

    _print_facts("Status", output_status(out), as_json)


@app.command()
def why(
    out: OutArgument, clip_id: Annotated[str, typer.Argument(help="Name of the clip.")]
) -> None:
    """Say what became of a clip, and why: its record, or its dead letter with every attempt.

    Example: [bold]tempprop why library demo-03[/bold]
    """
    from tempprop.inspection import explain_clip

    print(explain_clip(out, clip_id))


@app.command()
def doctor(
    out: Annotated[str | None, typer.Option("--out", help="Also try this output.")] = None,
) -> None:
    """Check this installation: libraries, GPU, ffmpeg, the embedded model, the disk.

    Example: [bold]tempprop doctor --out s3://bucket/library[/bold]
    """
    from tempprop.doctor import examine

    table = Table("check", "result", "", box=None)
    checks = examine(out)
    for check in checks:
        table.add_row(
            check.name,
            "[green]good[/green]" if check.good else "[red]bad[/red]",
            escape(check.finding),
        )
    Console().print(table)
    if not all(check.good for check in checks):
        raise typer.Exit(EXIT_FAILED_CLIPS)


@manifest_app.command("from-csv")
def manifest_from_csv(
    source: Annotated[str, typer.Argument(help="CSV or JSON Lines file.")],
    target: Annotated[str, typer.Argument(help="Parquet file to write.")],
) -> None:
    """Convert CSV or JSON Lines to a manifest, with all its checks.

    Example: [bold]tempprop manifest from-csv clips.csv clips.parquet[/bold]
    """
    from tempprop.manifest_conversion import convert_manifest

    count = convert_manifest(source, target)
    print(f"{target}: {count} clips")


@models_app.command("list")
def models_list() -> None:
    """List the configurations that come with tempprop, and their models.

    Example: [bold]tempprop models list[/bold]
    """
    from tempprop.config import config_names, load_config

    table = Table("config", "model", "size", "steps", "guidance", "dtype", box=None)
    for name in config_names():
        config = load_config(name)
        table.add_row(
            name,
            config.model,
            f"{config.clip.width}x{config.clip.height}",
            str(config.clip.num_inference_steps),
            str(config.clip.guidance_scale),
            config.dtype,
        )
    Console().print(table)


@models_app.command("describe")
def models_describe(
    model: Annotated[str, typer.Argument(help="`mini`, a directory, a URI or a hub id.")],
    config: ConfigOption = "mini",
    changes: SetOption = None,
) -> None:
    """Show what a model is; of the embedded model also what it understands.

    Example: [bold]tempprop models describe mini[/bold]
    """
    from tempprop.mini import describe
    from tempprop.preflight import identify

    identity = identify(_load_config(config, changes), model, ())
    print(f"{identity.uri}: {identity.pipeline_class}, digest {identity.digest}")
    if model == "mini":
        console = Console(highlight=False)
        for topic, words in asdict(describe()).items():
            console.print(f"[bold]{escape(topic)}[/bold]  {escape(', '.join(words))}")


@app.command()
def version() -> None:
    """Print the version.

    Example: [bold]tempprop version[/bold]
    """
    print(importlib.metadata.version("tempprop"))


def main() -> None:
    """Run the command line; an error that tempprop raises on purpose is one message."""
    _quiet_libraries()
    with _clear_errors():
        app()


def print_summary(summary: Any, as_json: bool) -> None:
    """Print where a batch's results are."""
    if as_json:
        print(json.dumps(asdict(summary), indent=2))
        return
    if summary.committed + summary.failed + summary.not_rendered == 0:
        print(f"Nothing to render: all {summary.total} clips are committed.")
    else:
        rate = summary.frames / summary.seconds if summary.seconds else 0.0
        print(
            f"{summary.committed} clips committed, {summary.failed} failed, "
            f"{summary.not_rendered} left; {summary.frames} frames in {summary.seconds:.0f} s "
            f"({rate:.1f} frames/s)"
        )
    base = summary.out.rstrip("/")
    print(f"clips          {base}/media/")
    if summary.contact_sheet_url:
        print(f"contact sheet  {base}/{summary.contact_sheet_url}")
    print(f"catalog        {base}/catalog/")
    print(f"summary        {base}/runs/{summary.run_id}/summary.json")
    if summary.failed:
        first = summary.failed_clip_ids[0]
        print(f"why            tempprop why {summary.out} {first}")


def _check_before_starting(manifest: str, out: str, config: str, overrides: list[str]) -> None:
    """Find what is wrong with the input before Prefect and Ray take their time to start."""
    from tempprop.preflight import check_batch

    check_batch(manifest, out, _load_config(config, overrides))


def _load_config(name_or_path: str, overrides: list[str] | None) -> Any:
    from tempprop.config import load_config

    return load_config(name_or_path, overrides or [])


def _print_facts(title: str, facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    table = Table(box=None, show_header=False, title=title, title_justify="left")
    for name, value in facts.items():
        shown = f"{value:,}" if isinstance(value, int | float) else str(value)
        table.add_row(name.replace("_", " "), escape(shown))
    Console(highlight=False).print(table)


def _prepare_prefect() -> None:
    """Settings that must stand in the environment before Prefect is imported."""
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # The display shows what Prefect would print; its own log keeps every line.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


def _quiet_libraries() -> None:
    """Keep hints to developers of other libraries, and their bars, off the terminal."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_INPUT)
    except (Interrupted, KeyboardInterrupt):
        print("interrupted; what is committed stays, and a rerun goes on", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except TempPropError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILED_CLIPS)
