"""What a batch would take: counts, time and cost, from the clips that were rendered before."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from tempprop.catalog import read_catalog
from tempprop.manifest import validate_manifest
from tempprop.plan import estimate_seconds, plan_batch
from tempprop.planned_clip import clip_cost
from tempprop.preflight import check_pictures, check_tools, identify
from tempprop.spec import ClipSpec, RenderConfig
from tempprop.store import Store, committed_keys, open_readable

MEASURED_CLIPS = 1000
SECONDS_PER_HOUR = 3600


def estimate_batch(
    manifest: str,
    out: str,
    config: RenderConfig,
    limit: int | None = None,
    where: str | None = None,
    workers: int = 1,
    cost_per_hour: float | None = None,
) -> dict[str, Any]:
    """Plan a batch without rendering it.

    Args:
        manifest: Path or URI of the manifest.
        out: Path or URI of the output.
        config: Model and look.
        limit: Take only the first so many clips that satisfy `where`.
        where: SQL condition over the manifest's columns.
        workers: Workers that would render at the same time.
        cost_per_hour: Price of one worker for one hour, in any currency.

    Returns:
        Facts by name. Hours and cost are None until a clip of the same model is in the catalog.

    Raises:
        ManifestError: The manifest has problems, or pictures that it names cannot be used.
        InputError: `where` is not a condition over the columns, or no clip could be finished as
            asked, see `tempprop.preflight.check_tools`.
        ModelError: A checkpoint or a LoRA cannot be used.
        StoreInputError: The output cannot be read.
    """
    validate_manifest(manifest, config)
    check_tools(config)
    check_pictures(manifest, config, where=where, limit=limit)
    store = open_readable(out, config.storage)
    with tempfile.TemporaryDirectory(prefix="tempprop-plan-") as directory:
        plan = plan_batch(
            manifest,
            config,
            committed_keys=committed_keys(store),
            identify=partial(identify, config),
            queue_path=Path(directory) / "queue.parquet",
            where=where,
            limit=limit,
        )
        digest = identify(config, config.model, ()).digest
        measured = seconds_per_cost(store, digest)
        seconds = (
            estimate_seconds(plan, seconds_per_cost=measured, workers=workers)
            if measured is not None
            else None
        )
    hours = round(seconds / SECONDS_PER_HOUR, 4) if seconds is not None else None
    facts: dict[str, Any] = {
        "clips": plan.total,
        "committed": plan.committed,
        "to_render": plan.pending,
        "frames_to_render": plan.pending_frames,
        "models": ", ".join(f"{name} ({count})" for name, count in plan.pending_by_model.items()),
        "workers": workers,
        "hours": hours,
    }
    if cost_per_hour is not None:
        facts["cost"] = round(hours * workers * cost_per_hour, 2) if hours is not None else None
    return facts


def seconds_per_cost(store: Store, model_digest: str) -> float | None:
    """Measure a worker's speed from the latest clips of a model in the catalog.

    Returns:
        Seconds of denoising and decoding for one unit of `tempprop.plan.clip_cost`; None where
        no clip of the model was rendered yet.
    """
    columns = ["model_digest", "created_at", "spec_json", "seconds_denoise", "seconds_decode"]
    table = read_catalog(store, columns)
    table = table.filter(pc.equal(table["model_digest"], model_digest))
    latest = table.sort_by([("created_at", "descending")]).slice(0, MEASURED_CLIPS).to_pylist()
    cost = sum(clip_cost(ClipSpec.model_validate_json(row["spec_json"])) for row in latest)
    seconds: float = sum(row["seconds_denoise"] + row["seconds_decode"] for row in latest)
    return seconds / cost if cost else None
