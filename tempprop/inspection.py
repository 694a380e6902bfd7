"""Questions about an output location: what is in it, and what became of one clip."""

import json
from collections.abc import Sequence
from typing import Any

from tempprop.catalog import find_clip, find_failures
from tempprop.errors import InputError
from tempprop.objects import list_names, read_object
from tempprop.spec import Attempt, ClipFailure, ClipResult
from tempprop.store import committed_keys, failed_keys, open_output

TRACEBACK_LINES = 12
HEADLINE = (
    *("run_id", "total", "committed_before", "committed", "failed", "not_rendered", "seconds"),
    "contact_sheet_url",
)


def output_status(out: str) -> dict[str, Any]:
    """Count what is in an output location, and describe its latest run that ended.

    Args:
        out: Path or URI of the output.

    Returns:
        Facts by name.

    Raises:
        StoreInputError: There is no output at that place, or it cannot be read.
    """
    store = open_output(out)
    facts: dict[str, Any] = {
        "output": store.uri,
        "committed": len(committed_keys(store)),
        "dead_letters": len(failed_keys(store)),
    }
    runs = sorted(list_names(store, "runs"))
    facts["runs"] = len(runs)
    for run_id in reversed(runs):
        try:
            summary = json.loads(read_object(store, f"runs/{run_id}/summary.json"))
        except (FileNotFoundError, ValueError):
            continue  # still going on, or killed
        facts |= {
            f"latest_{name}": summary[name] for name in HEADLINE if summary.get(name) is not None
        }
        break
    return facts


def explain_clip(out: str, clip_id: str) -> str:
    """Say what became of a clip.

    Args:
        out: Path or URI of the output.
        clip_id: Name of the clip.

    Returns:
        A text of several lines: every committed take, and every dead letter with its attempts.

    Raises:
        InputError: The output knows nothing of the clip.
        StoreInputError: The output cannot be read.
    """
    store = open_output(out)
    results, failures = find_clip(store, clip_id), find_failures(store, clip_id)
    if not results and not failures:
        raise InputError(
            f"{store.uri} knows no clip {clip_id!r}: it is neither committed nor a dead letter. "
            "Check the clip_id, or render its manifest"
        )
    return "\n\n".join([*map(_about_result, results), *map(_about_failure, failures)])


def _about_result(result: ClipResult) -> str:
    lines = [
        f"{result.clip_id}: committed {result.created_at:%Y-%m-%d %H:%M:%S} UTC",
        f"  media     {result.media.url} ({result.media.num_frames} frames)",
        f"  prompt    {result.spec.prompt}",
        f"  model     {result.model.uri} ({result.model.digest[:16]}), seed {result.spec.seed}",
        f"  run       {result.run_id}, attempt {len(result.failed_attempts) + 1}",
        f"  key       {result.key}",
        *_about_attempts(result.failed_attempts),
    ]
    return "\n".join(lines)


def _about_failure(failure: ClipFailure) -> str:
    lines = [
        f"{failure.clip_id}: given up {failure.created_at:%Y-%m-%d %H:%M:%S} UTC",
        f"  reason    {failure.error_class}: {failure.message}",
        f"  prompt    {failure.spec.prompt}",
        f"  run       {failure.run_id}",
        f"  key       {failure.key}",
    ]
    lines += _about_attempts(failure.attempts)
    lines += [f"  | {line}" for line in failure.traceback.splitlines()[-TRACEBACK_LINES:]]
    return "\n".join(lines)


def _about_attempts(attempts: Sequence[Attempt]) -> list[str]:
    lines = []
    for number, attempt in enumerate(attempts, start=1):
        gpu = f" (GPU {attempt.gpu})" if attempt.gpu else ""
        place = f" on {attempt.node}{gpu}" if attempt.node else ""
        lines.append(
            f"  attempt {number} failed, {attempt.kind}, after {attempt.seconds:.1f} s, "
            f"{attempt.worker}{place}: {attempt.error_class}: {attempt.message}"
        )
    return lines
