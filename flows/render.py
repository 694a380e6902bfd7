"""The batch as a Prefect flow: validate, plan, render, catalog.

One Prefect task is one stage of a batch, never one clip: Prefect shows and schedules the night,
Ray places the clips.
"""

import json
import secrets
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from prefect import State, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled, Completed, Failed

from cluster.dispatch import dispatch
from cluster.events import Committed, GaveOut, GivenUp, Quarantined, Retried, WorkerLog
from cluster.events import Event as DispatchEvent
from cluster.layout import WorkerFactory, worker_layout
from cluster.session import ray_session
from flows.contact import in_contact, publish_summary, stop_signals
from flows.events import BatchSummary, DeadLetter, Ended, Planned, Stopping, Tally, emit
from tempprop.catalog import read_catalog, write_catalog
from tempprop.clip_queue import open_queue
from tempprop.config import load_config
from tempprop.contact_sheet import MOST_CLIPS, ClipOnSheet, write_contact_sheet
from tempprop.media_objects import fetch_media
from tempprop.plan import Plan, plan_batch
from tempprop.preflight import Preflight, check_batch, identify
from tempprop.spec import RenderConfig
from tempprop.storage_faults import display_uri
from tempprop.store import (
    Store,
    committed_keys,
    iter_results,
    open_store,
    write_failure,
    write_run_file,
)

MOST_DEAD_LETTERS_SHOWN = 100


@flow(name="render-batch", persist_result=False)
def render_batch(
    manifest: str,
    out: str,
    config: str = "mini",
    overrides: list[str] | None = None,
    ray_address: str | None = None,
    limit: int | None = None,
    where: str | None = None,
) -> State[BatchSummary]:
    """Render the clips of a manifest that are not in the store yet.

    Prefect stores the parameters: credentials belong in the environment, not in a URI.

    Args:
        manifest: Parquet file, directory or glob; path or URI.
        out: Output location; path or URI.
        config: Name or path of a configuration.
        overrides: Changes to it, such as `clip.fps=12`.
        ray_address: Running Ray cluster; None starts a private Ray on this machine.
        limit: Render only the first so many clips that satisfy `where`.
        where: SQL condition over the manifest's columns.

    Returns:
        Completed when every clip asked for is committed, failed when some are dead letters or the
        run could not go on, cancelled when it was stopped.

    Raises:
        InputError: Something that was given is wrong; nothing was rendered.
        StoreError: The store failed for good; what is committed stays.
    """
    started_at, started = datetime.now(UTC), time.monotonic()
    run_id = f"{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    resolved = load_config(config, overrides or [])
    with tempfile.TemporaryDirectory(prefix="tempprop-batch-") as directory:
        validate(manifest, out, resolved, limit, where)
        plan = plan_clips(manifest, out, resolved, run_id, Path(directory), limit, where)
        tally = Tally()
        if plan.pending:
            tally = render_clips_on_cluster(plan, out, resolved, run_id, ray_address)
        catalog_url, sheet_url = catalog(out, resolved, run_id, tally, Path(directory))
    not_rendered = plan.pending - tally.committed - tally.failed
    summary = BatchSummary(
        run_id=run_id,
        manifest=display_uri(manifest),
        out=display_uri(out),
        total=plan.total,
        committed_before=plan.committed,
        committed=tally.committed,
        failed=tally.failed,
        failed_clip_ids=[letter.clip_id for letter in tally.failures],
        not_rendered=not_rendered,
        interrupted=tally.stopped and not_rendered > 0,
        gave_out=tally.gave_out,
        quarantined=tally.quarantined,
        frames=tally.frames,
        seconds=round(time.monotonic() - started, 3),
        catalog_url=catalog_url,
        contact_sheet_url=sheet_url,
        started_at=started_at.isoformat(),
    )
    store = open_store(out, storage=resolved.storage)
    write_run_file(store, run_id, "summary.json", _json(asdict(summary)))
    emit(Ended(summary))
    publish_summary(summary, tally.failures)
    return _final_state(summary)


@task(name="validate", cache_policy=NO_CACHE, persist_result=False)
def validate(
    manifest: str, out: str, config: RenderConfig, limit: int | None, where: str | None
) -> Preflight:
    """Check the manifest, the output and the model before a worker is started."""
    preflight = check_batch(manifest, out, config, where=where, limit=limit)
    logger = get_run_logger()
    logger.info("%d clips in %s", preflight.manifest.num_clips, display_uri(manifest))
    for uri in (manifest, out):
        if display_uri(uri) != uri:
            logger.warning(
                "Prefect keeps and shows the parameters of a run, with whatever is secret in them: "
                "give the credentials for %s in the environment of the worker instead",
                display_uri(uri),
            )
    if preflight.store.weakness is not None:
        logger.warning("%s: %s", display_uri(out), preflight.store.weakness)
    return preflight


@task(name="plan", cache_policy=NO_CACHE, persist_result=False)
def plan_clips(
    manifest: str,
    out: str,
    config: RenderConfig,
    run_id: str,
    directory: Path,
    limit: int | None,
    where: str | None,
) -> Plan:
    """Take away what is committed, and queue the rest on disk."""
    store = open_store(out, storage=config.storage)
    plan = plan_batch(
        manifest,
        config,
        committed_keys=committed_keys(store),
        identify=partial(identify, config),
        queue_path=directory / "queue.parquet",
        where=where,
        limit=limit,
    )
    get_run_logger().info(
        "%d clips asked for, %d committed before, %d to render",
        plan.total,
        plan.committed,
        plan.pending,
    )
    description = {
        "run_id": run_id,
        "manifest": display_uri(manifest),
        "where": where,
        "limit": limit,
        "config": config.model_dump(mode="json") | {"model": display_uri(config.model)},
        "total": plan.total,
        "committed_before": plan.committed,
        "pending": plan.pending,
        "pending_frames": plan.pending_frames,
    }
    write_run_file(store, run_id, "plan.json", _json(description))
    emit(Planned(run_id, plan, config.workers.num_workers))
    return plan


@task(name="render", cache_policy=NO_CACHE, persist_result=False)
def render_clips_on_cluster(
    plan: Plan, out: str, config: RenderConfig, run_id: str, ray_address: str | None
) -> Tally:
    """Render the queue on Ray, and write down the dead letters."""
    store, tally = open_store(out, storage=config.storage), Tally()
    with (
        stop_signals() as signals,
        in_contact(tally, plan.pending, signals.stop),
        ray_session(ray_address),
        open_queue(plan) as queue,
    ):
        factory = WorkerFactory(worker_layout(config), out, config, run_id)
        for event in dispatch(queue, factory, signals.stop):
            if signals.stop.is_set() and not tally.stopped:
                tally.stopped = True
                get_run_logger().warning("stopping: clips that are nearly done are still committed")
                emit(Stopping())
            _record(event, store, tally)
            emit(event)
        # Between two events, nobody has noticed yet.
        tally.stopped = signals.stop.is_set()
    return tally


@task(name="catalog", cache_policy=NO_CACHE, persist_result=False)
def catalog(
    out: str, config: RenderConfig, run_id: str, tally: Tally, directory: Path
) -> tuple[str | None, str | None]:
    """Compact the records that no catalog file has yet, and draw the contact sheet.

    Records of runs that were killed before they came this far are picked up here too.

    Returns:
        Paths of the catalog file and of the contact sheet below the output root; None for what
        had nothing to show.
    """
    store = open_store(out, storage=config.storage)
    missing = committed_keys(store) - set(read_catalog(store, ["key"])["key"].to_pylist())
    url = write_catalog(store, run_id, iter_results(store, missing)) if missing else None
    get_run_logger().info("%d records added to the catalog", len(missing))
    return url, _write_sheet(store, run_id, tally, directory)


def _write_sheet(store: Store, run_id: str, tally: Tally, directory: Path) -> str | None:
    """Draw the first clips of a run as one picture."""
    if not tally.shown:
        return None
    clips = []
    for result in sorted(iter_results(store, tally.shown), key=lambda result: result.clip_id):
        media = fetch_media(store, result.media, directory)
        clips.append(ClipOnSheet(result.spec.prompt, media, result.clip_id))
    path = directory / "contact_sheet.png"
    write_contact_sheet(clips, path)
    return write_run_file(store, run_id, path.name, path.read_bytes())


def _record(event: DispatchEvent, store: Store, tally: Tally) -> None:
    """Count what happened, log it, and write down a dead letter."""
    logger = get_run_logger()
    match event:
        case Committed(result):
            tally.committed += 1
            tally.frames += result.media.num_frames
            if len(tally.shown) < MOST_CLIPS:
                tally.shown.add(result.key)
            logger.debug("committed %s", result.clip_id)
        case GivenUp(failure):
            write_failure(store, failure)
            tally.failed += 1
            if len(tally.failures) < MOST_DEAD_LETTERS_SHOWN:
                tally.failures.append(DeadLetter.of(failure))
            logger.error(
                "gave up %s after %d attempts: %s: %s",
                failure.clip_id,
                len(failure.attempts),
                failure.error_class,
                failure.message,
            )
        case Retried(clip_id, attempt):
            logger.warning(
                "trying %s again after %s on %s: %s",
                clip_id,
                attempt.error_class,
                attempt.worker,
                attempt.message,
            )
        case Quarantined(worker, place, reason):
            tally.quarantined.append(place)
            logger.error("%s (%s) gets no more clips: %s", place, worker, reason)
        case GaveOut(reason):
            tally.gave_out = reason
            logger.error("the run ends early: %s", reason)
        case WorkerLog(worker, level, line):
            logger.log(level, "%s: %s", worker, line)


def _final_state(summary: BatchSummary) -> State[BatchSummary]:
    if summary.interrupted:
        return Cancelled(message=f"stopped, {summary.not_rendered} clips are left to render")
    if summary.gave_out is not None:
        return Failed(message=f"{summary.not_rendered} clips are left: {summary.gave_out}")
    if summary.failed:
        return Failed(message=f"{summary.failed} of {summary.total} clips are dead letters")
    return Completed(message=f"all {summary.total} clips are committed")


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode()
