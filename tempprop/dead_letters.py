"""Clips that were given up, to be tried again: chosen by kind or by name, as a manifest."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from tempprop.config import load_config
from tempprop.errors import InputError, StoreError
from tempprop.filesystems import NO_STORAGE
from tempprop.init_image import picture_digest
from tempprop.manifest_writing import write_manifest
from tempprop.objects import read_object
from tempprop.preflight import identify
from tempprop.spec import ClipFailure, RenderConfig, clip_key
from tempprop.store import Store, iter_failures, open_readable

MOST_NAMED = 5


@dataclass(frozen=True)
class DeadLetters:
    """Dead letters that were rendered with one configuration.

    Attributes:
        config: The configuration.
        failures: The dead letters, at least one.
    """

    config: RenderConfig
    failures: tuple[ClipFailure, ...]


def find_dead_letters(
    out: str,
    kinds: Sequence[str] = (),
    clip_ids: Sequence[str] = (),
    config: str | None = None,
    overrides: Sequence[str] = (),
) -> list[DeadLetters]:
    """Read the dead letters of an output, by the configuration that each was rendered with.

    Args:
        out: Path or URI of the output.
        kinds: Why their last attempt failed; none for all.
        clip_ids: Names; none for all.
        config: Configuration to use instead of that of the run that gave up; it has to make the
            same clips.
        overrides: Changes to it.

    Raises:
        InputError: There is none of that kind or name, or what would be rendered today is another
            clip than the one that failed.
        StoreInputError: The output cannot be read.
    """
    given = load_config(config, overrides) if config is not None else None
    store = open_readable(out, given.storage if given is not None else NO_STORAGE)
    failures = [
        failure
        for failure in iter_failures(store)
        if (not kinds or failure.attempts[-1].kind in kinds)
        and (not clip_ids or failure.clip_id in clip_ids)
    ]
    unknown = set(clip_ids) - {failure.clip_id for failure in failures}
    if unknown or not failures:
        which = f" of {', '.join(sorted(unknown)[:MOST_NAMED])}" if unknown else ""
        of_kind = f" of the kind {' or '.join(kinds)}" if kinds else ""
        raise InputError(
            f"{store.uri} has no dead letter{which}{of_kind}. See tempprop status, and tempprop why"
        )
    found: dict[str, DeadLetters] = {}
    for failure in failures:
        used = given or config_of_run(store, failure.run_id)
        key = used.model_dump_json()
        before = found[key].failures if key in found else ()
        found[key] = DeadLetters(used, (*before, failure))
    for letters in found.values():
        _check_keys(letters)
    return list(found.values())


def write_letters(letters: DeadLetters, directory: Path) -> tuple[str, str]:
    """Write the clips as a manifest, and their configuration as YAML.

    Returns:
        The paths of both.
    """
    manifest, config = directory / "dead-letters.parquet", directory / "config.yaml"
    write_manifest((failure.spec for failure in letters.failures), str(manifest))
    config.write_text(yaml.safe_dump(letters.config.model_dump(mode="json")))
    return str(manifest), str(config)


def config_of_run(store: Store, run_id: str) -> RenderConfig:
    """Read the configuration that a run was started with.

    Raises:
        InputError: It cannot be read.
    """
    name = f"runs/{run_id}/plan.json"
    try:
        plan = json.loads(read_object(store, name))
        return RenderConfig.model_validate_json(json.dumps(plan["config"]))
    except (FileNotFoundError, KeyError, ValueError, ValidationError) as error:
        raise InputError(
            f"{store.uri}: the configuration of the run {run_id} is not in {name}, or is from "
            "another version of tempprop. Give it with --config"
        ) from error
    except StoreError as error:
        raise InputError(str(error)) from error


def _check_keys(letters: DeadLetters) -> None:
    """Make sure that the same clips would be rendered today.

    Raises:
        InputError: The weights, a picture, the configuration or the version are other ones.
    """
    other = [failure.clip_id for failure, key in _todays_keys(letters) if key != failure.key]
    if other:
        raise InputError(
            f"the weights, a picture, the configuration or tempprop itself have changed since "
            f"{', '.join(other[:MOST_NAMED])}{', ...' if len(other) > MOST_NAMED else ''} failed. "
            "Render the manifest again, or give the configuration of then with --config"
        )


def _todays_keys(letters: DeadLetters) -> Iterator[tuple[ClipFailure, str]]:
    identities = {}
    for failure in letters.failures:
        spec = failure.spec
        weights = (spec.model, spec.loras)
        if weights not in identities:
            identities[weights] = identify(letters.config, *weights)
        picture = picture_digest(spec.init_image) if spec.init_image is not None else None
        yield failure, clip_key(spec, letters.config, identities[weights], picture)
