"""Questions about an output location: what is in it, and what became of one clip."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tempprop.lineage import Lineage
from tempprop.objects import list_names, read_object
from tempprop.spec import Attempt, ClipFailure, ClipResult, ClipSettings, ClipSpec, FinishingConfig
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


def explain(lineage: Lineage) -> str:
    """Say what became of a clip, and how.

    Returns:
        A text of several lines: every committed take, and every dead letter with its attempts.
    """
    return "\n\n".join(
        [
            *_about_file(lineage),
            *(_about_result(result, lineage.parents) for result in lineage.results),
            *map(_about_failure, lineage.failures),
        ]
    )


def _about_file(lineage: Lineage) -> list[str]:
    """Say whether a file is the one that was committed."""
    file = lineage.file
    if file is None:
        return []
    if file.part == "media":
        return [f"{file.path} is the file that was committed, byte for byte"]
    if file.part is not None:
        return [f"{file.path} is the clip's {file.part}, byte for byte"]
    return [
        f"{file.path} says that it is this clip, but is none of its files, or was changed since: "
        f"its sha256 is {file.sha256}"
    ]


def _about_result(result: ClipResult, parents: Mapping[str, ClipResult]) -> str:
    spec, media, model = result.spec, result.media, result.model
    scheduler = result.scheduler.name if result.scheduler else "that of the model"
    facts = [
        ("media", f"{media.url} ({media.num_frames} frames)"),
        ("sha256", media.sha256),
        ("prompt", spec.prompt),
        *((f"frame {keyframe.frame}", keyframe.prompt) for keyframe in spec.prompts),
        ("settings", _settings(spec)),
        ("model", f"{model.uri} ({model.digest[:16]}), seed {spec.seed}"),
        ("digest", model.digest),
        *(
            ("LoRA", f"{lora.path} at {lora.weight:g} ({digest[:16]})")
            for lora, digest in zip(spec.loras, model.lora_digests, strict=True)
        ),
        *([("picture", f"{spec.init_image} ({result.init_image_sha256})")] * bool(spec.init_image)),
        ("denoised", f"in {result.dtype}, scheduler {scheduler}"),
        ("encoder", _encoder(result)),
        *_made_of_it(result),
        ("versions", _listed(result.versions)),
        ("hardware", _listed(result.hardware)),
        ("run", f"{result.run_id}, attempt {len(result.failed_attempts) + 1}"),
        ("key", result.key),
        *_ancestors(result, parents),
    ]
    return "\n".join(
        [
            f"{result.clip_id}: committed {result.created_at:%Y-%m-%d %H:%M:%S} UTC",
            *(f"  {name:<9} {value}" for name, value in facts),
            *_about_attempts(result.failed_attempts),
        ]
    )


def _encoder(result: ClipResult) -> str:
    settings = _listed(result.encoder.model_dump(mode="json", exclude_none=True))
    instead = result.media.encoder_instead
    return f"{settings}; {result.media.encoder}, since {instead}" if instead else settings


def _made_of_it(result: ClipResult) -> Iterator[tuple[str, str]]:
    """Tell what was done to the frames before they were encoded, and to the files afterwards."""
    if result.finishing != FinishingConfig():
        yield "finishing", _listed(result.finishing.model_dump(mode="json", exclude_none=True))
    if result.watermark is not None:
        yield "watermark", _listed(result.watermark.model_dump(mode="json", exclude_none=True))
    if result.provenance is not None:
        yield "marked", f"as {result.provenance.digital_source_type}"
        if result.provenance.signature is not None:
            by = f"{result.provenance.signer} (certificate {result.provenance.certificate_sha256})"
            yield "signed", f"{result.provenance.signature}, by {by}"


def _settings(spec: ClipSpec) -> str:
    """Give size and length, and what is set otherwise than by default."""
    shape = {"num_frames", "fps", "width", "height", "num_inference_steps", "guidance_scale"}
    others = {
        name: value
        for name, value in spec.model_dump(
            mode="json", include=set(ClipSettings.model_fields)
        ).items()
        if name not in shape and value != ClipSettings().model_dump(mode="json")[name]
    }
    text = (
        f"{spec.num_frames} frames at {spec.fps:g} fps, {spec.width}x{spec.height}, "
        f"{spec.num_inference_steps} steps, guidance {spec.guidance_scale:g}"
    )
    return f"{text}, {_listed(others)}" if others else text


def _ancestors(result: ClipResult, parents: Mapping[str, ClipResult]) -> Iterator[tuple[str, str]]:
    """Tell which clip a take was made from, and which one that."""
    told: set[str] = set()
    key = result.parent_key
    while key is not None and key not in told:
        told.add(key)
        parent = parents.get(key)
        origin = f"{parent.clip_id}, run {parent.run_id}" if parent else "not in this output"
        yield "take of", f"{key} ({origin})"
        key = parent.parent_key if parent else None


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value != "") or "-"


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
