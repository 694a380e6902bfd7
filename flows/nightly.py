"""The night: the batch of one day, on a schedule."""

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect import State, flow, get_run_logger
from prefect.runtime import flow_run

from flows.render import render_batch
from tempprop.errors import InputError
from tempprop.storage_faults import display_uri


@flow(name="nightly", persist_result=False)
def nightly(
    manifest: str,
    out: str,
    config: str = "mini",
    time_zone: str = "UTC",
    date: dt.date | None = None,
    overrides: list[str] | None = None,
    ray_address: str | None = None,
) -> State[Any]:
    """Render the manifest of the day for which this run was scheduled.

    A run that starts late, or is retried a day later, still takes the day that it was scheduled
    for.

    Args:
        manifest: Absolute path or URI in which `{date}` stands for the day, as in 2026-11-23.
        out: Absolute path or URI of the output; `{date}` is replaced too.
        config: Name of a configuration, or absolute path or URI of one.
        time_zone: IANA name of the zone in which the day is counted; give the schedule's.
        date: Day to render instead, to make up for a night that was missed.
        overrides: Changes to the configuration, such as `clip.fps=12`.
        ray_address: Running Ray cluster; without it a private Ray is started on the worker.
    """
    check_absolute(manifest, out)
    day = (date or scheduled_day(time_zone)).isoformat()
    get_run_logger().info("rendering the night of %s", day)
    batch = render_batch.with_options(flow_run_name=f"night-of-{day}")(
        manifest=with_date(manifest, day),
        out=with_date(out, day),
        config=config,
        overrides=overrides,
        ray_address=ray_address,
        return_state=True,
    )
    # Prefect would sum the batch's own state up as "1/1 states failed".
    return State(type=batch.type, name=batch.name, message=batch.message)


def with_date(uri: str, date: str) -> str:
    """Replace `{date}` in a path or URI; every other brace stays as it is."""
    return uri.replace("{date}", date)


def scheduled_day(time_zone: str) -> dt.date:
    """Tell on which day a run was to start, where its schedule counts the days.

    Args:
        time_zone: IANA name.

    Raises:
        InputError: There is no such zone.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InputError(
            f"there is no time zone {time_zone!r}. Give an IANA name, such as Europe/Berlin"
        ) from error
    scheduled: dt.datetime = flow_run.scheduled_start_time or dt.datetime.now(dt.UTC)
    return scheduled.astimezone(zone).date()


def check_absolute(*locations: str) -> None:
    """Refuse relative paths: a Prefect worker starts each run in a directory that it removes.

    Raises:
        InputError: A location is a relative path, or empty.
    """
    for location in locations:
        if "://" not in location and not Path(location).is_absolute():
            raise InputError(
                f"{display_uri(location)!r} is a relative path, and a worker removes the directory "
                "in which it runs a flow. Give an absolute path or a URI"
            )
