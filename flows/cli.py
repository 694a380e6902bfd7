"""The command line, the top floor of the house."""

from __future__ import annotations

import importlib.metadata
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows.cli_catalog import catalog_app
from flows.cli_options import (
    AllOption,
    ChecksOption,
    ClipArgument,
    ClipsArgument,
    ConfigOption,
    CostOption,
    DecodeOption,
    DeleteOption,
    FramesOption,
    IdenticalOption,
    JsonOption,
    JudgesOption,
    KindOption,
    LargestPageOption,
    LibraryOption,
    LimitOption,
    ManifestArgument,
    MetricsOption,
    OlderThanOption,
    OutArgument,
    OutOption,
    PageOption,
    PairsOption,
    PromptsOption,
    RayAddressOption,
    ReferenceOption,
    ReportOption,
    ResampleSeedOption,
    ResamplesOption,
    ResultsOption,
    RetriedArgument,
    RetryConfigOption,
    SeedOption,
    SetOption,
    ShowPromptsOption,
    StudyArgument,
    StudySeedOption,
    TitleOption,
    TrustAnchorsOption,
    VerifiedArgument,
    WhereOption,
    WorkersOption,
)
from flows.cli_output import (
    EXIT_FAILED_CLIPS,
    EXIT_INTERRUPTED,
    WarningLines,
    clear_errors,
    count_clips,
    print_facts,
    print_json,
    print_orphans,
    print_summary,
    print_table,
)
from tempprop.errors import InputError, TempPropError

if TYPE_CHECKING:
    from flows.events import BatchSummary

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)
manifest_app = typer.Typer(
    help="Make manifests.\n\nExample: [bold]tempprop manifest from-csv --help[/bold]",
    no_args_is_help=True,
)
models_app = typer.Typer(
    help="Show which models and configurations there are.\n\n"
    "Example: [bold]tempprop models list[/bold]",
    no_args_is_help=True,
)
app.add_typer(catalog_app, name="catalog")
app.add_typer(manifest_app, name="manifest")
app.add_typer(models_app, name="models")


@app.callback(invoke_without_command=True)
def tempprop(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.")
    ] = False,
) -> None:
    """Render video clips with image diffusion models: a manifest in, a library of clips out.

    Example: [bold]tempprop preview "a red balloon over green hills" --out balloon.mp4[/bold]
    """
    if show_version:
        version()
        raise typer.Exit


@app.command()
def render(
    manifest: ManifestArgument,
    out: OutOption,
    config: ConfigOption = "mini",
    changes: SetOption = None,
    workers: WorkersOption = None,
    ray_address: RayAddressOption = None,
    limit: LimitOption = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render every clip of a manifest that is not in the output yet.

    Example: [bold]tempprop render clips.parquet --out s3://bucket/library --config sdxl[/bold]
    """
    overrides = _with_workers(changes, workers)
    _check_before_starting(manifest, out, config, overrides, where, limit)
    with _batch_runner() as run_batch:
        summary = run_batch(
            manifest=manifest,
            out=out,
            config=config,
            overrides=overrides,
            ray_address=ray_address,
            limit=limit,
            where=where,
        )
    print_summary(summary, as_json)
    _exit_with([summary])


@app.command()
def retry(
    out: OutArgument,
    clip_ids: RetriedArgument = None,
    kinds: KindOption = None,
    config: RetryConfigOption = None,
    changes: SetOption = None,
    workers: WorkersOption = None,
    ray_address: RayAddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render dead letters again: all of them, those of a kind, or those named.

    Each with the configuration of the run that gave it up.

    Example: [bold]tempprop retry library --kind infrastructure --kind "out of memory"[/bold]
    """
    import tempfile

    from tempprop.dead_letters import find_dead_letters, write_letters

    if changes and config is None:
        raise typer.BadParameter("--set changes a configuration. Give it with --config")
    batches = find_dead_letters(out, kinds or (), clip_ids or (), config, changes or ())
    summaries = []
    with _batch_runner() as run_batch, tempfile.TemporaryDirectory() as directory:
        for letters in batches:
            manifest, config_file = write_letters(letters, Path(directory))
            summaries.append(
                run_batch(
                    manifest=manifest,
                    out=out,
                    config=config_file,
                    overrides=_with_workers(None, workers),
                    ray_address=ray_address,
                )
            )
            print_summary(summaries[-1], as_json)
    _exit_with(summaries)


@app.command()
def plan(
    manifest: ManifestArgument,
    out: OutOption,
    config: ConfigOption = "mini",
    changes: SetOption = None,
    limit: LimitOption = None,
    where: WhereOption = None,
    workers: WorkersOption = None,
    cost_per_hour: CostOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what would be rendered, what is done, and how long the rest takes.

    Times come from the clips that are in the output already.

    Example: [bold]tempprop plan clips.parquet --out library --workers 8[/bold]
    """
    from tempprop.estimate import estimate_batch

    estimate = estimate_batch(
        manifest, out, _load_config(config, changes), limit, where, workers or 1, cost_per_hour
    )
    print_facts(estimate, as_json)


@app.command()
def validate(
    manifest: ManifestArgument, config: ConfigOption = "mini", changes: SetOption = None
) -> None:
    """List every problem of a manifest.

    Models and pictures are not opened: plan and render look at them before anything is rendered.

    Example: [bold]tempprop validate clips.parquet[/bold]
    """
    from tempprop.manifest import validate_manifest

    summary = validate_manifest(manifest, _load_config(config, changes))
    print(f"{manifest}: {count_clips(summary.num_clips)}, no problems")


@app.command()
def preview(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the clip shows.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The file to write; its suffix is that of the profile, such as .mp4.",
        ),
    ],
    config: ConfigOption = "mini",
    changes: SetOption = None,
    seed: SeedOption = 0,
    init_image: Annotated[
        str | None,
        typer.Option(
            "--init-image", metavar="FILE", help="A picture, as path or URI, that becomes frame 0."
        ),
    ] = None,
) -> None:
    """Render one clip in this process, without Ray and without Prefect.

    Example: [bold]tempprop preview "a red balloon over green hills" --out balloon.mp4[/bold]
    """
    from tempprop.preview import preview_clip

    encoded = preview_clip(prompt, out, _load_config(config, changes), seed, init_image)
    found = encoded.probe
    print(
        f"{encoded.path}: {found.num_frames} frames, "
        f"{found.width}x{found.height}, {found.duration_seconds:.1f} s"
    )


@app.command()
def status(out: OutArgument, as_json: JsonOption = False) -> None:
    """Count what is in an output location, and show its latest run.

    Example: [bold]tempprop status s3://bucket/library[/bold]
    """
    from tempprop.inspection import output_status

    print_facts(output_status(out), as_json)


@app.command()
def why(out: OutArgument, clip: ClipArgument, as_json: JsonOption = False) -> None:
    """Say what became of a clip, and why: its record, or its dead letter with every attempt.

    A media file is found by the key in its container, else by its bytes.

    Example: [bold]tempprop why library demo-03[/bold]

    Example: [bold]tempprop why library downloads/demo-03.mp4[/bold]
    """
    from tempprop.inspection import explain
    from tempprop.lineage import find_lineage
    from tempprop.store import open_output

    lineage = find_lineage(open_output(out), clip)
    if as_json:
        print_json(lineage.as_json())
    else:
        print(explain(lineage))


@app.command()
def rebuild(
    out: OutArgument,
    clip: ClipArgument,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="Keep the rebuilt clip; outside of OUT."),
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Also load weights that are not safetensors, which can run any code.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Render a committed clip again from its own record, and compare.

    In this process; nothing in the output is changed. Of several takes the newest counts; its key
    names any other. PSNR is that of the decoded frames: infinite where they are equal.

    Example: [bold]tempprop rebuild library demo-03 --to again.mp4[/bold]
    """
    from tempprop.rebuild import rebuild_clip

    rebuilt = rebuild_clip(out, clip, to, allow_pickle=allow_pickle)
    if as_json:
        print_json(rebuilt.as_json())
    else:
        print(rebuilt.as_text())


@app.command()
def verify(
    place: VerifiedArgument,
    trust_anchors: TrustAnchorsOption = None,
    library: LibraryOption = None,
    decode: DecodeOption = False,
    show_all: AllOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check media against their records, their signatures, and whether they say who made them.

    Of an output every clip is checked, of a file on this machine the file alone. Ends with exit
    code 1 where something is wrong.

    Example: [bold]tempprop verify s3://bucket/library --trust-anchors root.pem[/bold]
    """
    from flows.verification_output import verify_output, verify_single

    if library is not None and not Path(place).is_file():
        raise typer.BadParameter(f"--library is for a file, and there is no file {place}")
    if Path(place).is_file():
        well = verify_single(
            Path(place), trust_anchors=trust_anchors, library=library, as_json=as_json
        )
    else:
        well = verify_output(
            place, trust_anchors=trust_anchors, decode=decode, show_all=show_all, as_json=as_json
        )
    if not well:
        raise typer.Exit(EXIT_FAILED_CLIPS)


@app.command()
def gc(
    out: OutArgument,
    older_than: OlderThanOption = "7d",  # type: ignore[assignment]  # the option parses it
    delete: DeleteOption = False,
    as_json: JsonOption = False,
) -> None:
    """List what lies in an output and belongs to nothing, and remove it with --delete.

    Media without a record, what committed clips once went on from, files and uploads that were
    never finished. What a record refers to is never touched.

    Not for a time at which a run is going on: its media have no record yet, and only their age
    tells them from orphans. Keep --older-than well above the length of a run.

    Example: [bold]tempprop gc s3://bucket/library --older-than 36h --delete[/bold]
    """
    from tempprop.orphans import find_orphans, remove_orphans
    from tempprop.store import open_output

    store = open_output(out)
    orphans = find_orphans(store, older_than)
    removed = remove_orphans(store, orphans) if delete else None
    print_orphans(store.uri, orphans, older_than, removed, as_json)


@app.command()
def evaluate(
    clips: ClipsArgument,
    reference: ReferenceOption = None,
    out: ReportOption = None,
    judges: JudgesOption = None,
    prompts: PromptsOption = None,
    frames: FramesOption = 16,
    metrics: MetricsOption = None,
    resamples: ResamplesOption = 1000,
    seed: ResampleSeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure directories of clips, ours or others': one row of figures each, with intervals.

    Of each clip the first frames count. With --out the report is written as JSON, Markdown and a
    plot, and a second evaluation measures only what is new.

    Example: [bold]tempprop evaluate ours=library base=others/ --reference real --out report[/bold]
    """
    try:
        from flows.evaluation import Request, evaluate_clips
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"cv2", "matplotlib"}:
            raise
        raise InputError(
            "an evaluation needs OpenCV and Matplotlib. Run: pip install 'tempprop[evaluation]'"
        ) from error

    names = tuple(name.strip() for name in (metrics or "").split(",") if name.strip())
    request = Request(tuple(clips), reference, names, frames, resamples, seed, judges, prompts)
    evaluate_clips(request, out, as_json)


@app.command()
def study(
    context: typer.Context,
    places: StudyArgument,
    results: ResultsOption = False,
    out: PageOption = Path("study.html"),
    pairs: PairsOption = None,
    seed: StudySeedOption = 0,
    title: TitleOption = "Which clip is better?",
    show_prompts: ShowPromptsOption = False,
    checks: ChecksOption = None,
    identical: IdenticalOption = 0,
    largest_megabytes: LargestPageOption = 500,
    as_json: JsonOption = False,
) -> None:
    """Let people judge two methods blindly, or count their answers.

    Clips of one name make a pair. The page holds them all and can be mailed.
    It saves a file of answers for each rater. FILE.key.json, beside the page,
    says which method is which: keep it, for the answers are counted with it.
    It is found beside them, in the working directory or among the files.

    Example: [bold]tempprop study library-a library-b --out study.html[/bold]

    Example: [bold]tempprop study --results answers-*.json[/bold]
    """
    if results:
        _refuse_options_of_making(context)
        from flows.study_output import print_tally
        from tempprop.blind_study.answer_files import read_study
        from tempprop.blind_study.tally import tally

        print_tally(tally(*read_study([Path(place) for place in places])), as_json)
        return
    if len(places) != 2:
        raise typer.BadParameter("give two places of clips, or --results", param_hint="OUT_A OUT_B")
    from flows.study_output import print_made_study
    from tempprop.blind_study.making import StudyPlan, make_study

    plan = StudyPlan(
        a=places[0],
        b=places[1],
        out=out,
        title=title,
        pairs=pairs,
        checks=checks,
        identical=identical,
        show_prompts=show_prompts,
        seed=seed,
        largest_megabytes=largest_megabytes,
    )
    print_made_study(plan, make_study(plan), as_json)


@app.command()
def doctor(
    out: Annotated[
        str | None, typer.Option("--out", metavar="URI", help="Also try this output.")
    ] = None,
) -> None:
    """Check this installation: libraries, GPU, ffmpeg, the embedded model, the disk.

    Example: [bold]tempprop doctor --out s3://bucket/library[/bold]
    """
    from tempprop.doctor import examine

    checks = examine(out)
    marks = {True: "[green]good[/green]", False: "[red]bad[/red]"}
    print_table(
        ("check", "result", "finding"),
        [(check.name, marks[check.good], escape(check.finding)) for check in checks],
    )
    if not all(check.good for check in checks):
        raise typer.Exit(EXIT_FAILED_CLIPS)


@manifest_app.command("from-csv")
def manifest_from_csv(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="CSV or JSON Lines file.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Parquet file to write.")],
) -> None:
    """Convert CSV or JSON Lines to a manifest, with all its checks.

    Example: [bold]tempprop manifest from-csv clips.csv clips.parquet[/bold]
    """
    from tempprop.manifest_conversion import convert_manifest

    count = convert_manifest(source, target)
    print(f"{target}: {count_clips(count)}")


@models_app.command("list")
def models_list() -> None:
    """List the configurations that come with tempprop, and their models.

    Example: [bold]tempprop models list[/bold]
    """
    from tempprop.config import config_names, load_config

    configs = [(name, load_config(name)) for name in config_names()]
    print_table(
        ("config", "size", "steps", "model"),
        [
            (
                name,
                f"{config.clip.width}x{config.clip.height}",
                str(config.clip.num_inference_steps),
                escape(config.model),
            )
            for name, config in configs
        ],
    )


@models_app.command("families")
def models_families() -> None:
    """List the pipelines of diffusers that can be rendered with, and what each supports.

    All of them take motion, loops, keyframes and an init_image. A negative prompt needs
    guidance that is not distilled into the weights, which in some families differs by checkpoint.
    Attention is that of a frame to other frames, prompts are those that travel; where these have
    to be of equal length, their tokens count.

    Example: [bold]tempprop models families[/bold]
    """
    from tempprop.attention import SELF_ATTENTION
    from tempprop.families import FAMILIES

    negative_prompt = {"none": "✓", "some": "some", "all": "-"}
    print_table(
        ("models", "pipeline", "negative", "attention", "prompts"),
        [
            (
                family.models,
                family.pipeline_class.removesuffix("Pipeline"),
                negative_prompt[family.distilled],
                "✓" if family.pipeline_class in SELF_ATTENTION else "-",
                "equal length" if family.prompt_lengths == "apart" else "✓",
            )
            for family in FAMILIES.values()
        ],
    )


@models_app.command("describe")
def models_describe(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Name of a configuration, a directory, a file, a URI or a hub id."
        ),
    ],
    changes: SetOption = None,
) -> None:
    """Show what a model is; of the embedded model also what it understands.

    Example: [bold]tempprop models describe mini[/bold]
    """
    from tempprop.config import config_names
    from tempprop.mini import describe
    from tempprop.preflight import identify

    named = model in config_names()
    config = _load_config(model if named else "mini", changes)
    name = config.model if named else model
    identity = identify(config, name, ())
    rows = [
        ("model", identity.uri),
        ("pipeline", identity.pipeline_class),
        ("digest", identity.digest),
    ]
    if name == "mini":
        words = asdict(describe())
        rows += [(topic, ", ".join(words[topic])) for topic in words if topic != "example_prompts"]
        rows += [("prompts", "\n".join(words["example_prompts"]))]
    print_table((), [(topic, escape(text)) for topic, text in rows])


@app.command()
def version() -> None:
    """Print the version.

    Example: [bold]tempprop version[/bold]
    """
    print(importlib.metadata.version("tempprop"))


def main() -> None:
    """Run the command line; an error that tempprop raises on purpose is one message."""
    _quiet_libraries()
    _show_warnings()
    with clear_errors():
        app(prog_name="tempprop")


@contextmanager
def _batch_runner() -> Iterator[Callable[..., BatchSummary]]:
    """Give the function that runs a batch with Prefect and Ray, and shows it meanwhile."""
    _prepare_prefect()
    from flows.display import batch_display
    from flows.events import Ended, Event, observed_by
    from flows.render import render_batch
    from flows.server import prefect_server

    with batch_display() as show, prefect_server():

        def run(**parameters: Any) -> BatchSummary:
            summaries: list[BatchSummary] = []

            def observe(event: Event) -> None:
                show(event)
                if isinstance(event, Ended):
                    summaries.append(event.summary)

            with observed_by(observe):
                state = render_batch(**parameters, return_state=True)
            if not summaries:
                state.result()
                raise TempPropError(f"the batch ended as {state.name}: {state.message}")
            return summaries[-1]

        yield run


def _with_workers(changes: list[str] | None, workers: int | None) -> list[str]:
    return [*(changes or []), *([f"workers.num_workers={workers}"] if workers else [])]


def _exit_with(summaries: list[BatchSummary]) -> None:
    if any(summary.interrupted for summary in summaries):
        raise typer.Exit(EXIT_INTERRUPTED)
    if any(summary.failed or summary.gave_out for summary in summaries):
        raise typer.Exit(EXIT_FAILED_CLIPS)


def _check_before_starting(
    manifest: str,
    out: str,
    config: str,
    overrides: list[str],
    where: str | None,
    limit: int | None,
) -> None:
    """Find what is wrong with the input before Prefect and Ray take their time to start."""
    from tempprop.preflight import check_batch
    from tempprop.storage_faults import display_uri

    resolved = _load_config(config, overrides)
    capabilities = check_batch(manifest, out, resolved, where=where, limit=limit).store
    if capabilities.weakness is not None:
        logging.getLogger("tempprop").warning("%s: %s", display_uri(out), capabilities.weakness)


def _refuse_options_of_making(context: typer.Context) -> None:
    """Refuse options of a new study beside --results, where they would do nothing."""
    for name in context.params:
        source = context.get_parameter_source(name)
        typed = source is not None and source.name == "COMMANDLINE"
        if typed and name not in {"places", "results", "as_json"}:
            option = f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"{option} makes a study, and --results counts one")


def _load_config(name_or_path: str, overrides: list[str] | None) -> Any:
    from tempprop.config import load_config

    return load_config(name_or_path, overrides or [])


def _prepare_prefect() -> None:
    """Settings that must stand in the environment before Prefect is imported."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # The display shows what Prefect would print; its own log keeps every line.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


def _quiet_libraries() -> None:
    """Keep hints to developers of other libraries, and their bars, off the terminal."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _show_warnings() -> None:
    logger = logging.getLogger("tempprop")
    if not any(isinstance(handler, WarningLines) for handler in logger.handlers):
        logger.addHandler(WarningLines(logging.WARNING))


if __name__ == "__main__":
    main()
