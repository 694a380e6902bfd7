import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from chromium import find_chromium
from object_storage import ObjectStorage, seaweedfs

NO_BROWSER = "there is no Chromium with its driver: apt-get install chromium chromium-driver"
TEST_HOME = Path(tempfile.mkdtemp(prefix="tempprop-tests-"))

# Ray and Prefect read these when they are imported, which is before any fixture runs.
os.environ.update(
    {
        "AWS_CONFIG_FILE": str(TEST_HOME / "aws-config"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_SHARED_CREDENTIALS_FILE": str(TEST_HOME / "aws-credentials"),
        "DO_NOT_TRACK": "1",
        "DIFFUSERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
        # Tests share the cores, and threads that wait for each other in a spin take them away.
        "OMP_NUM_THREADS": "1",
        "PREFECT_HOME": str(TEST_HOME / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Idle processes, of which workers with an environment of their own can use none.
        "RAY_prestart_worker_first_driver": "0",
        "TRANSFORMERS_VERBOSITY": "error",
    }
)
for name in [name for name in os.environ if name.startswith("AWS_")]:
    if name.startswith(("AWS_ACCESS", "AWS_SECRET", "AWS_SESSION", "AWS_PROFILE", "AWS_ENDPOINT")):
        del os.environ[name]


def pytest_unconfigure() -> None:
    shutil.rmtree(TEST_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion checkpoint of a few thousand random weights, as a user's would lie."""
    import tiny_pipelines

    return tiny_pipelines.save("stable-diffusion", tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def object_storage() -> Iterator[ObjectStorage]:
    """One S3 server for the whole session."""
    directory = TEST_HOME / "seaweedfs"
    directory.mkdir()
    with seaweedfs(directory) as server:
        server.make_bucket("clips")
        yield server


@pytest.fixture
def s3_uri(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty location in a bucket, and the environment by which it is found."""
    for name, value in object_storage.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://clips/{uuid.uuid4().hex}"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Calls the command line in this process."""
    from command_line import caller

    return caller(monkeypatch, capsys)


@pytest.fixture
def refused(call, here):
    """Calls the command line with what it has to refuse, in the test module's own `here`."""
    from command_line import refuser

    return refuser(call, here)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="there is no NVIDIA GPU"))
        if item.get_closest_marker("browser") and find_chromium() is None:
            item.add_marker(pytest.mark.skip(reason=NO_BROWSER))
