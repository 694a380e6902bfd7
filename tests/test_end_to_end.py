"""The whole command into a directory and into a bucket: the same layout, the same clips."""

import re
import subprocess
import sys

import pytest
from clips import small_manifest, tiny_overrides

from tempprop.store import committed_keys, iter_results, open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")


def _render(manifest, out, checkpoint, *options):
    command = [sys.executable, "-m", "flows.cli", "render", str(manifest), "--out", out, *options]
    done = subprocess.run(
        [*command, *tiny_overrides(checkpoint)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _layout(out):
    """Names of all objects below an output, with the run's own name taken out."""
    store = open_store(out)
    paths = store.fs.find(store.root)
    return sorted(RUN_ID.sub("RUN", path.removeprefix(f"{store.root}/")) for path in paths)


@pytest.mark.s3
def test_a_bucket_gets_the_same_layout_as_a_directory(
    tiny_checkpoint, tmp_path, s3_uri, object_storage, monkeypatch
):
    manifest, local = small_manifest(tmp_path, 3), str(tmp_path / "out")
    # The flow and its workers find the server by the configuration alone.
    storage = ("--set", f"storage.endpoint_url={object_storage.endpoint}")
    for out in (local, s3_uri):
        with monkeypatch.context() as without_endpoint:
            without_endpoint.delenv("AWS_ENDPOINT_URL")
            stdout = _render(manifest, out, tiny_checkpoint, *storage)
        assert "3 clips committed, 0 failed, 0 left" in stdout
        assert f"clips          {out}/media/" in stdout
        assert re.search(rf"contact sheet  {out}/runs/.*/contact_sheet.png", stdout)
    assert _layout(local) == _layout(s3_uri)
    assert len(_layout(local)) == 3 * 4 + 1 + 3

    in_directory = {result.key: result for result in iter_results(open_store(local))}
    in_bucket = {result.key: result for result in iter_results(open_store(s3_uri))}
    assert in_directory.keys() == in_bucket.keys()
    for key, result in in_directory.items():
        assert result.media.sha256 == in_bucket[key].media.sha256

    before = committed_keys(open_store(s3_uri))
    assert "Nothing to render: all 3 clips are committed." in _render(
        manifest, s3_uri, tiny_checkpoint
    )
    assert committed_keys(open_store(s3_uri)) == before
