"""A Prefect server, and a process worker beside it, as a studio would run them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from object_storage import free_port
from processes import wait_until

ROOT = Path(__file__).parent.parent
PREFECT = [sys.executable, "-m", "prefect", "--no-prompt"]


@dataclass(frozen=True)
class PrefectServer:
    """A running server.

    Attributes:
        environment: Environment in which commands reach it.
    """

    environment: dict[str, str]

    @property
    def url(self) -> str:
        return self.environment["PREFECT_API_URL"]

    def start(self, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a Prefect command that goes on."""
        with log.open("w") as output:
            return subprocess.Popen(
                [*PREFECT, *arguments],
                env=self.environment,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def run(self, *arguments: str) -> str:
        """Run a Prefect command to its end; gives what it printed."""
        done = subprocess.run(
            [*PREFECT, *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, path: str, **question: Any) -> Any:
        return httpx.post(f"{self.url}/{path}", json=question).raise_for_status().json()

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.HTTPError:
            return False

    def flow_runs(self, *state_types: str) -> list[dict[str, Any]]:
        """The runs in some states, or all; without those of flows that a flow called."""
        wanted = {"parent_task_run_id": {"is_null_": True}}
        if state_types:
            wanted["state"] = {"type": {"any_": state_types}}
        return self.ask("flow_runs/filter", flow_runs=wanted)


@contextmanager
def prefect_server(directory: Path) -> Iterator[PrefectServer]:
    """A server alone, to which flows report that somebody else starts."""
    port = free_port()
    server = PrefectServer(
        os.environ
        | {
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_HOME": str(directory / "prefect"),
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        }
    )
    process = server.start(directory / "server.log", "server", "start", "--port", str(port))
    try:
        wait_until(server.is_up)
        yield server
    finally:
        _end(process)


@contextmanager
def prefect_worker(server: PrefectServer, directory: Path) -> Iterator[None]:
    """A process worker of the work pool `tempprop`."""
    server.run("work-pool", "create", "tempprop", "--type", "process")
    log = directory / "worker.log"
    process = server.start(log, "worker", "start", "--pool", "tempprop", "--limit", "1")
    try:
        yield
    finally:
        # A worker that is told to stop while a run of its own is ending may wait for ever.
        psutil.wait_procs(psutil.Process(process.pid).children(), timeout=10)
        _end(process)
        print(log.read_text())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
