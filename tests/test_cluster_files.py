"""The files that start a cluster: they parse, they agree, and what can run here is run."""

import json
import os
import random
import re
import subprocess
import sysconfig
from pathlib import Path

import jsonschema
import pytest
import ray.autoscaler
import yaml
from clips import small_manifest

from tempprop.store import iter_results, open_store

ROOT = Path(__file__).parent.parent
FILES = ROOT / "cluster"
SCRIPTS = sysconfig.get_path("scripts")
CARDS = [
    *("--set", "model=test-card", "--set", "clip.num_frames=2", "--set", "workers.canary=false"),
    *("--set", "clip.width=32", "--set", "clip.height=32"),
]


def loaded(name):
    return yaml.safe_load((FILES / name).read_text())


def cluster_specs():
    return {
        "raycluster": loaded("kuberay/raycluster.yaml")["spec"],
        "rayjob": loaded("kuberay/rayjob.yaml")["spec"]["rayClusterSpec"],
    }


def containers(spec):
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        yield from group["template"]["spec"]["containers"]


def test_the_job_and_the_cluster_are_made_of_the_same():
    specs = cluster_specs()
    assert specs["raycluster"] == specs["rayjob"]


def test_kuberay_runs_the_ray_that_the_constraints_name():
    (version,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    for spec in cluster_specs().values():
        assert spec["rayVersion"] == version


def test_pods_with_gpus_hand_their_clips_over_before_they_end():
    for spec in cluster_specs().values():
        for group in spec["workerGroupSpecs"]:
            pod = group["template"]["spec"]
            (container,) = pod["containers"]
            *_, script = container["lifecycle"]["preStop"]["exec"]["command"]
            drain, sleep = script.split("; ")
            assert drain.startswith('ray drain-node --address "$RAY_ADDRESS"')
            assert int(sleep.removeprefix("sleep ")) < pod["terminationGracePeriodSeconds"]


def test_every_pod_is_probed_and_has_its_credentials_from_a_secret():
    for spec in cluster_specs().values():
        assert spec["authOptions"] == {"mode": "token"}
        for container in containers(spec):
            assert container["livenessProbe"]["httpGet"]["path"] == "/api/healthz"
            assert container["readinessProbe"]["httpGet"]["port"] == 52365
            assert container["envFrom"] == [{"secretRef": {"name": "tempprop-storage"}}]
            assert not any("KEY" in variable["name"] for variable in container["env"])
            assert container["resources"]["requests"]["memory"]


def test_only_workers_ask_for_gpus_and_the_cluster_may_shrink_to_none():
    for spec in cluster_specs().values():
        assert spec["enableInTreeAutoscaling"]
        assert spec["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
        for group in spec["workerGroupSpecs"]:
            (container,) = group["template"]["spec"]["containers"]
            assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
            assert group["minReplicas"] == 0


def test_the_job_is_queued_by_kueue_and_asks_for_workers_before_there_are_gpus():
    job = loaded("kuberay/rayjob.yaml")
    assert job["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "render"}
    assert "--workers 16 --set workers.num_gpus=1" in job["spec"]["entrypoint"]
    assert job["spec"]["shutdownAfterJobFinishes"]


def test_ray_up_takes_its_file():
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    config = loaded("ray-up.yaml")
    jsonschema.validate(config, schema)
    assert config["head_node_type"] in config["available_node_types"]


def test_the_image_has_everything_that_is_installed():
    text = (FILES / "Containerfile").read_text()
    copied = set(re.findall(r"^COPY (\S+) \1$", text, re.MULTILINE))
    assert copied == {"configs", "tempprop", "cluster", "flows"}
    assert "--constraint constraints.txt" in text


@pytest.mark.slow
def test_the_slurm_script_renders_on_the_nodes_of_its_allocation(tmp_path):
    """One node, and stand-ins for Slurm's commands that run things here."""
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    stand_ins = {
        "scontrol": "echo 127.0.0.1",
        "srun": 'while [[ "$1" == --* ]]; do shift; done; exec "$@"',
    }
    for name, script in stand_ins.items():
        path = bin_directory / name
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"} | {
        "PATH": f"{bin_directory}:{os.environ['PATH']}",
        "TEMPPROP_BIN": SCRIPTS,
        "PYTHONPATH": str(ROOT),
        "SLURM_JOB_NODELIST": "node1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_ID": str(random.randint(1, 100_000)),
    }
    out = tmp_path / "out"
    manifest = small_manifest(tmp_path, 3)
    done = subprocess.run(
        [FILES / "slurm.sh", manifest, "--out", out, *CARDS],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 clips committed, 0 failed, 0 left" in done.stdout
    assert len(list(iter_results(open_store(str(out))))) == 3
