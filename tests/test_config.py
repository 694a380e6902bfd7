import inspect

import diffusers
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.config import config_names, load_config
from tempprop.errors import ConfigError
from tempprop.spec import Motion, RenderConfig


@pytest.mark.parametrize("name", config_names())
def test_every_shipped_configuration_loads_and_names_a_real_scheduler(name):
    config = load_config(name)
    assert config.model
    if config.scheduler:
        scheduler = getattr(diffusers, config.scheduler.name)
        assert set(config.scheduler.options) <= set(inspect.signature(scheduler).parameters)


def test_the_default_is_shipped_and_changes_nothing_but_what_it_says():
    assert "mini" in config_names()
    assert load_config("mini") == RenderConfig(frames_per_batch=16)


def test_a_file_says_only_what_it_changes(tmp_path):
    path = tmp_path / "look.yaml"
    path.write_text("model: sdxl\nclip: {fps: 12}\n")
    config = load_config(str(path))
    assert (config.model, config.clip.fps, config.clip.num_frames) == ("sdxl", 12.0, 16)


def test_an_empty_file_is_the_default(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load_config(str(path)) == RenderConfig()


def test_overrides_apply_in_order():
    config = load_config(
        "mini",
        [
            "clip.fps=24",
            "clip.fps=12",
            "scheduler.name=DDIMScheduler",
            "scheduler.options={eta: 0.5}",
            "seed=7",
            "clip.negative_prompt='a: b = c'",
        ],
    )
    assert (config.clip.fps, config.seed) == (12.0, 7)
    assert config.scheduler.options == {"eta": 0.5}
    assert config.clip.negative_prompt == "a: b = c"
    assert load_config("sd15", ["scheduler="]).scheduler is None


def test_a_motion_is_set_by_its_fields(tmp_path):
    path = tmp_path / "look.yaml"
    path.write_text("clip:\n  motion:\n    zoom: '0: (1.0), 24: (1.04)'\n    angle: 1\n")
    overrides = ["clip.motion.angle=-0.5", "clip.motion.translation_x=0:(0),9:(4)"]
    motion = load_config(str(path), overrides).clip.motion
    assert motion == Motion(zoom="0:(1.0), 24:(1.04)", translation_x="0:(0), 9:(4)", angle=-0.5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("clip.fsp=8", "clip.fsp: there is no such key; did you mean clip.fps"),
        ("num_frames=8", "num_frames: there is no such key; did you mean clip.num_frames"),
        ("encoder.preset.speed=1", "encoder.preset: "),
        ("wrokers.num_gpus=1", "wrokers: there is no such key; did you mean workers"),
        ("xyzzy=1", "xyzzy: there is no such key; see"),
        ("clip.num_frames=8.0", "clip.num_frames: should be a valid integer (value: 8.0)"),
        ("clip.fps=fast", "clip.fps: should be a valid number (value: 'fast')"),
        ("clip.fps=.nan", "clip.fps: should be a finite number"),
        ("clip.width=130", "clip.width: should be a multiple of 8 (value: 130)"),
        ("clip.motion.zoom=0:(sin(t))", "clip.motion.zoom: must be a number, or keyframes"),
        ("clip.motion.zoom=20", "clip.motion.zoom: must stay from 0.1 to 10 (value: 20)"),
        ("clip.motion.zom=1", "there is no such key; did you mean clip.motion.zoom"),
        ("clip.attention=last", "clip.attention: should be 'none', 'first' or 'first+prev'"),
        ("clip=3", "clip: should be a valid dictionary"),
        ("dtype=no", "dtype: should be 'float32', 'float16' or 'bfloat16' (value: False)"),
        ("clip.fps", "not of the form key=value"),
        ("=8", "not of the form key=value"),
        ("clip.fps=[1", "not proper YAML"),
        ("clip.fps=!!python/object/apply:os.getcwd []", "not proper YAML"),
    ],
)
def test_a_bad_override_names_key_value_and_what_is_expected(override, message):
    with pytest.raises(ConfigError) as caught:
        load_config("mini", [override])
    assert message in str(caught.value)


def test_all_bad_keys_are_named():
    with pytest.raises(
        ConfigError, match=r"(?s)clip\.width.*clip\.height|clip\.height.*clip\.width"
    ):
        load_config("mini", ["clip.width=1", "clip.height=1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip: {fps: 8, fps: 9}", "the key 'fps' stands there twice"),
        ("model: a\nmodel: b", "the key 'model' stands there twice"),
        ("model: [", "not proper YAML"),
        ("- a", "must hold keys and values"),
        ("1: a", "eys should be strings"),
        ("[" * 5000, "not proper YAML"),
    ],
)
def test_a_bad_file_is_told(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    assert message in str(caught.value)
    assert "bad.yaml" in str(caught.value)


@pytest.mark.parametrize("name", ["sdx", "nowhere/sdxl.yaml", "sdxl2.yaml", ""])
def test_a_missing_configuration_lists_what_there_is(name):
    with pytest.raises(ConfigError, match=r"There are .*mini.*sdxl"):
        load_config(name)


def test_the_nearest_name_is_suggested():
    with pytest.raises(ConfigError, match="Did you mean 'mini'"):
        load_config("minni")


def test_an_fsspec_uri_is_read_and_its_credentials_are_not_told():
    with pytest.raises(ConfigError) as caught:
        load_config("nosuch://user:secret@host/look.yaml")
    assert "secret" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_is_a_configuration_or_an_error(text):
    try:
        load_config("mini", [f"clip.negative_prompt={text}"])
    except ConfigError:
        return


@pytest.mark.parametrize("size", ["0", "2.5", "fast", "true"])
def test_a_size_of_batch_that_is_none_is_refused_in_one_line(size):
    with pytest.raises(ConfigError) as refused:
        load_config("mini", [f"frames_per_batch={size}"])
    value = repr(yaml.safe_load(size))
    (line,) = str(refused.value).splitlines()[1:]
    assert line == f"  frames_per_batch: must be auto, or a whole number from 1 (value: {value})"
