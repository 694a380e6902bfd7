"""The night: the batch of one day, on a schedule."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from prefect import State, flow, get_run_logger
from prefect.runtime import flow_run

from flows.render import render_batch


@flow(name="nightly", persist_result=False)
def nightly(
    manifest: str,
    out: str,
    config: str = "mini",
    time_zone: str = "UTC",
    overrides: list[str] | None = None,
    ray_address: str | None = None,
) -> State[Any]:
    """Render the manifest of the day for which this run was scheduled.

    A run that starts late, or is started again a day later, still takes the day that it was
    scheduled for.

    Args:
        manifest: Path or URI in which `{date}` stands for the day, as in 2026-11-23.
        out: Path or URI of the output; `{date}` is replaced too.
        config: Name or path of a configuration.
        time_zone: IANA name of the zone in which the day is counted; give the schedule's.
        overrides: Changes to the configuration.
        ray_address: Running Ray cluster; None starts a private Ray on this machine.
    """
    scheduled: datetime = flow_run.scheduled_start_time or datetime.now(UTC)
    date = scheduled.astimezone(ZoneInfo(time_zone)).date().isoformat()
    get_run_logger().info("rendering the night of %s", date)
    return render_batch(
        manifest=with_date(manifest, date),
        out=with_date(out, date),
        config=config,
        overrides=overrides,
        ray_address=ray_address,
        return_state=True,
    )


def with_date(uri: str, date: str) -> str:
    """Replace `{date}` in a path or URI; every other brace stays as it is."""
    return uri.replace("{date}", date)
