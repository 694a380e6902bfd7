"""Follows long clips under several settings: do color, contrast and detail last?

``python -m tempprop.studies.drift`` writes `docs/measurements/drift.json`, `docs/drift.png`,
`docs/feedback.png` and its section of `docs/defaults.md`. Interrupted, it goes on where it was.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from tempprop.evaluation.clip_metrics import color_distance, contrast, frozen, motion, sharpness
from tempprop.frames import Frames
from tempprop.mini.classifier import Classifier, load_classifier
from tempprop.pipeline import load_pipeline
from tempprop.studies.drift_page import CURVES
from tempprop.studies.feedback import FeedbackSettings
from tempprop.studies.measuring import DEFAULTS, DTYPE, Dtype, Variant, measure_study
from tempprop.studies.methods import INDEPENDENT
from tempprop.studies.metrics import latent_statistics, likeness, recognized
from tempprop.studies.page import write_page
from tempprop.studies.plots import plot_drift, plot_feedback
from tempprop.studies.results import FEEDBACK, Curve, drift_file
from tempprop.studies.subjects import Subject, subjects

DIGITS = 4
"""Decimal places of the curves in the file."""

STIFF = {"propagation_strength": 1.0, "propagation_keeps": "noise", "noise_correlation": 0.99}
FREE = {"anchor_weight": 0.0, "color_coherence": 0.0}

CHANGES: dict[str, dict[str, Any]] = {
    "no color coherence": {"color_coherence": 0.0},
    "no anchor": {"anchor_weight": 0.0},
    "no color coherence, no anchor": FREE,
    "new anchors": {"keyframe_interval": 32},
    "last steps uncoupled": {"propagation_end": 0.7},
    "stiff": STIFF,
    "stiff, no motion floor": STIFF | {"motion_floor": 0.0},
    "uncoupled": INDEPENDENT,
}

DEFORUM = FeedbackSettings()

VARIANTS = (
    DEFAULTS,
    *(Variant(name, settings, settings) for name, settings in CHANGES.items()),
    Variant(FEEDBACK, DEFORUM.model_dump(), {}, DEFORUM),
)
"""The defaults, what they do without their brakes, what provokes blur and freezing, a control, and
what others do.
"""

app = typer.Typer()


def clip_curves(
    classifier: Classifier, vae: Any, frames: Frames, subject: Subject
) -> dict[str, Curve]:
    """Measure a long clip, frame by frame; frame 0 has neither motion nor distance."""
    latent_mean, latent_deviation = latent_statistics(vae, frames)
    curves = {
        "color_distance": color_distance(frames),
        "latent_mean": latent_mean,
        "latent_deviation": latent_deviation,
        "contrast": contrast(frames),
        "sharpness": sharpness(frames),
        "likeness": likeness(classifier, frames),
        "motion": np.array([0.0, *motion(frames)]),
        "frozen": frozen(frames),
        "recognized": recognized(classifier, frames, subject),
    }
    return {
        name: tuple(round(float(value), DIGITS) for value in curve)
        for name, curve in curves.items()
    }


@app.command()
def drift(
    out: Annotated[Path, typer.Option(help="Directory of the page.")] = Path("docs"),
    prompts: Annotated[int, typer.Option(min=1, help="Clips a row.")] = 2,
    frames: Annotated[int, typer.Option(min=2, help="Frames a clip.")] = 256,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 12,
    dtype: Dtype = DTYPE,
) -> None:
    """Measure how color, contrast, detail and content fare along long clips."""
    model, classifier, cast = (
        load_pipeline("mini", dtype=dtype),
        load_classifier(),
        subjects(prompts),
    )
    study = measure_study(
        model,
        drift_file(out),
        "drift",
        VARIANTS,
        cast,
        lambda clip, subject: clip_curves(classifier, model.pipeline.vae, clip, subject),
        num_frames=frames,
        num_inference_steps=steps,
    )
    plot_drift(study.rows, CURVES, out / "drift.png")
    plot_feedback(study, out / "feedback.png")
    write_page(out)


if __name__ == "__main__":
    app()
