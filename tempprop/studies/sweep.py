"""Varies one setting of the propagation at a time, and measures what that does.

``python -m tempprop.studies.sweep`` writes `docs/measurements/sweep.json`, `docs/sweep.png` and
`docs/defaults.md`. Interrupted, it goes on where it was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table

from tempprop.mini.classifier import load_classifier
from tempprop.pipeline import load_pipeline
from tempprop.spec import ClipSettings
from tempprop.studies.measuring import DEFAULTS, DRAWN, DTYPE, Dtype, Variant, measure_study
from tempprop.studies.metrics import clip_figures
from tempprop.studies.page import write_page
from tempprop.studies.plots import plot_sweep
from tempprop.studies.results import Study, sweep_file
from tempprop.studies.subjects import subjects
from tempprop.studies.sweep_page import HEADER, row_cells

app = typer.Typer()


def _choices(setting: str) -> tuple[str, ...]:
    return get_args(ClipSettings.model_fields[setting].annotation)


VALUES: dict[str, tuple[Any, ...]] = {
    "noise_correlation": (0.0, 0.7, 0.9, 0.95, 0.98, 0.99, 1.0),
    "propagation_strength": (0.0, 0.5, 0.85, 1.0),
    "propagation_end": (0.3, 0.6, 0.7, 0.8, 0.9, 1.0),
    "propagation_keeps": _choices("propagation_keeps"),
    "propagation_low_pass": (0.0, 0.5, 1.0, 2.0, 4.0),
    "anchor_weight": (0.0, 0.2, 0.3, 0.5, 1.0),
    "color_coherence": (0.0, 0.3, 0.6, 1.0),
    "motion_floor": (0.0, 0.02, 0.05, 0.1),
    "keyframe_interval": (0, 3, 6),
    "attention": _choices("attention"),
}
"""The values of each setting that are tried; the default itself is the sweep's first row."""


def variants(settings: Sequence[str] = ()) -> list[Variant]:
    """Give the rows: the defaults, every other value of each setting, and the drawn films.

    Args:
        settings: The settings to vary; none for all.
    """
    defaults = ClipSettings()
    changed = [
        Variant(setting, value, {setting: value})
        for setting, values in VALUES.items()
        if not settings or setting in settings
        for value in values
        if value != getattr(defaults, setting)
    ]
    return [DEFAULTS, *changed, DRAWN]


def _known(settings: list[str] | None) -> list[str]:
    for setting in settings or []:
        if setting not in VALUES:
            raise typer.BadParameter(f"{setting!r} is not varied; choose from {', '.join(VALUES)}")
    return settings or []


@app.command()
def sweep(
    out: Annotated[Path, typer.Option(help="Directory of the page.")] = Path("docs"),
    prompts: Annotated[int, typer.Option(min=1, help="Clips a row.")] = 8,
    frames: Annotated[int, typer.Option(min=2, help="Frames a clip.")] = 12,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 12,
    dtype: Dtype = DTYPE,
    setting: Annotated[
        list[str] | None,
        typer.Option(help="Vary only this; repeatable.", callback=_known),
    ] = None,
) -> None:
    """Measure the propagation's settings, one at a time, around their defaults."""
    model, classifier, cast = (
        load_pipeline("mini", dtype=dtype),
        load_classifier(),
        subjects(prompts),
    )
    study = measure_study(
        model,
        sweep_file(out),
        "sweep",
        variants(setting or []),
        cast,
        lambda clip, subject: clip_figures(classifier, clip, subject),
        num_frames=frames,
        num_inference_steps=steps,
        more_options=" ".join(f"--setting {name}" for name in setting or []),
    )
    plot_sweep(study, out / "sweep.png")
    write_page(out)
    _print(study)


def _print(study: Study) -> None:
    table = Table(*HEADER, title="One setting at a time")
    for row in study.rows:
        table.add_row(*row_cells(row))
    Console().print(table)


if __name__ == "__main__":
    app()
