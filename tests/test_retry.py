"""Dead letters are rendered again, by name and by kind, with what made them fail put right."""

import pytest
import yaml

from tempprop.dead_letters import find_dead_letters
from tempprop.errors import InputError
from tempprop.manifest_writing import write_manifest
from tempprop.spec import RenderConfig
from tempprop.store import committed_keys, failed_keys, open_store

pytestmark = pytest.mark.slow

FAULTS = {"fine": None, "raises": "error", "eats": "memory", "moody": "error"}


@pytest.fixture
def here(tmp_path):
    return tmp_path


@pytest.fixture
def night(call, tmp_path):
    """A night of test cards, of which three are dead letters, one of them only that night."""
    rows = [
        {"clip_id": name, "prompt": "p", "tags": {"fault": fault} if fault else {}}
        for name, fault in FAULTS.items()
    ]
    manifest = tmp_path / "clips.parquet"
    write_manifest(rows, str(manifest))
    config = tmp_path / "cards.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "model": "test-card",
                "clip": {"width": 32, "height": 32, "num_frames": 2},
                "workers": {"canary": False, "torch_threads": 1},
                "retries": {"max_attempts": 1},
            }
        )
    )
    out = tmp_path / "out"
    answer = call("render", manifest, "--out", out, "--config", config, "--json")
    assert answer.code == 1, answer.err
    assert (answer.json["committed"], answer.json["failed"]) == (1, 3)
    return out


def test_dead_letters_are_tried_again_as_they_were(night, call):
    refusals = {
        ("fine",): "has no dead letter of fine",
        ("--kind", "infrastructure"): "has no dead letter of the kind infrastructure",
        ("--set", "clip.fps=9"): "Give it with --config",
        ("--config", "mini", "--set", "encoder.crf=30"): "have changed since",
    }
    for words, reason in refusals.items():
        answer = call("retry", night, *words)
        assert answer.code == 2
        assert reason in " ".join(answer.err.split())

    before = failed_keys(open_store(str(night)))
    assert len(before) == 3
    answer = call("retry", night, "--kind", "out of memory", "--json")
    assert (answer.code, answer.json["total"], answer.json["failed"]) == (1, 1, 1)
    assert failed_keys(open_store(str(night))) == before
    (letters,) = find_dead_letters(str(night), clip_ids=["eats"])
    assert len(letters.failures[0].attempts) == 2
    assert letters.failures[0].run_id == answer.json["run_id"]
    assert letters.config.retries.max_attempts == 1

    assert "attempt 1 failed, unknown, after" in call("why", night, "raises").out

    # The cause is gone: what a tag says does not change the clip.
    store = open_store(str(night))
    for path in (night / "failures").iterdir():
        path.write_text(path.read_text().replace('"fault": "error"', '"note": "mended"'))
    answer = call("retry", night, "raises", "moody", "--json")
    assert (answer.code, answer.json["committed"]) == (0, 2)
    assert len(committed_keys(store)) == 3
    assert len(failed_keys(store)) == 1

    for path in (night / "runs").glob("*/plan.json"):
        path.unlink()
    with pytest.raises(InputError, match="Give it with --config"):
        find_dead_letters(str(night))


def test_a_configuration_survives_the_way_through_a_file():
    config = RenderConfig()
    assert (
        RenderConfig.model_validate(yaml.safe_load(yaml.safe_dump(config.model_dump()))) == config
    )
