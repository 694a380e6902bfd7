import inspect
import json
import multiprocessing
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import diffusers
import fsspec
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.loaders.single_file_utils import CHECKPOINT_KEY_NAMES
from diffusers.utils import convert_state_dict_to_diffusers
from fsspec.implementations.memory import MemoryFileSystem
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from tiny_pipelines import save

from tempprop.errors import ModelError
from tempprop.mini import MINI_PATH
from tempprop.model_files import cache_directory, checkpoint_digest, download
from tempprop.pipeline import identify_model, load_pipeline
from tempprop.prediction import FLOW
from tempprop.schedulers import SCHEDULERS, SUPPORTED_SCHEDULERS
from tempprop.spec import LoRA, SchedulerConfig

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPPROP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def checkpoint(tmp_path, tiny_checkpoint):
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "mine"))


@pytest.fixture
def memory():
    """An empty place in memory that a URI can name."""
    filesystem = fsspec.filesystem("memory")
    filesystem.makedirs("/models", exist_ok=True)
    yield filesystem
    filesystem.rm("/models", recursive=True)


def picture(model):
    answer = model.pipeline(
        "a fox",
        width=32,
        height=32,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    )
    return answer.images[0]


def pickle_unet(checkpoint):
    torch.save(load_file(checkpoint / UNET), (checkpoint / UNET).with_suffix(".bin"))


def edit_index(checkpoint, **changes):
    path = checkpoint / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# A directory


def test_a_directory_is_loaded_ready_to_render(tiny_checkpoint):
    model = load_pipeline(str(tiny_checkpoint), dtype="bfloat16", device="cpu")
    assert isinstance(model.pipeline, StableDiffusionPipeline)
    assert model.pipeline.unet.dtype == torch.bfloat16
    assert (model.device, model.pipeline.unet.device) == (torch.device("cpu"),) * 2
    assert model.identity == identify_model(str(tiny_checkpoint))
    assert model.identity.pipeline_class == "StableDiffusionPipeline"


def test_loading_says_nothing(tiny_checkpoint, capfd):
    load_pipeline(str(tiny_checkpoint), device="cpu")
    assert capfd.readouterr() == ("", "")


def test_the_embedded_model():
    model = load_pipeline("mini", device="cpu")
    assert model.identity == identify_model("mini")
    assert model.identity.uri == "mini"
    assert model.identity.digest == checkpoint_digest(MINI_PATH)
    assert np.isfinite(picture(model)).all()


def test_damaged_weights(checkpoint):
    (checkpoint / UNET).write_bytes((checkpoint / UNET).read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"cannot be loaded: .*/unet/.* Download or save"):
        load_pipeline(str(checkpoint))


# What identifies a checkpoint


def test_a_copy_elsewhere_is_the_same_model(checkpoint, tiny_checkpoint):
    (checkpoint / "README.md").write_text("read me")
    (checkpoint / "unet" / "README.md").write_text("read me")
    (checkpoint / "samples").mkdir()
    (checkpoint / "samples" / "fox.json").write_text("{}")
    pickle_unet(checkpoint)
    copied, original = identify_model(str(checkpoint)), identify_model(str(tiny_checkpoint))
    assert copied.digest == original.digest
    assert copied.uri != original.uri


@pytest.mark.parametrize(
    "file", ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"]
)
def test_files_that_shape_pixels_count(checkpoint, file):
    before = identify_model(str(checkpoint))
    (checkpoint / file).write_text((checkpoint / file).read_text() + "\n")
    assert identify_model(str(checkpoint)).digest != before.digest


def test_a_chat_template_counts(checkpoint):
    before = identify_model(str(checkpoint))
    (checkpoint / "tokenizer" / "chat_template.jinja").write_text("{{ messages }}")
    assert identify_model(str(checkpoint)).digest != before.digest


def test_weights_count(checkpoint):
    before = identify_model(str(checkpoint))
    weights = load_file(checkpoint / UNET)
    next(iter(weights.values())).flatten()[0] += 1
    save_file(weights, checkpoint / UNET, {"format": "pt"})
    assert identify_model(str(checkpoint)).digest != before.digest


# Pickles


def test_pickles_are_loaded_only_where_they_are_allowed(checkpoint, tiny_checkpoint):
    pickle_unet(checkpoint)
    (checkpoint / UNET).unlink()
    for refuse in (identify_model, load_pipeline):
        with pytest.raises(ModelError, match=r"no safetensors weights in unet/.*allow_pickle"):
            refuse(str(checkpoint))
    model = load_pipeline(str(checkpoint), allow_pickle=True, device="cpu")
    assert np.array_equal(picture(model), picture(load_pipeline(str(tiny_checkpoint))))
    assert model.identity == identify_model(str(checkpoint), allow_pickle=True)
    assert model.identity.digest != identify_model(str(tiny_checkpoint)).digest


def test_where_pickles_are_allowed_safetensors_are_still_taken(tiny_checkpoint):
    model = load_pipeline(str(tiny_checkpoint), allow_pickle=True, device="cpu")
    assert model.identity == identify_model(str(tiny_checkpoint))


# Schedulers


def test_a_scheduler_of_the_configuration_replaces_that_of_the_checkpoint(checkpoint):
    edit_index(checkpoint, scheduler=["diffusers", "PNDMScheduler"])
    for refuse in (identify_model, load_pipeline):
        with pytest.raises(ModelError, match="PNDMScheduler cannot propagate") as caught:
            refuse(str(checkpoint))
        assert [name for name in SUPPORTED_SCHEDULERS if name not in str(caught.value)] == []
    euler = SchedulerConfig(name="EulerDiscreteScheduler", options={"timestep_spacing": "trailing"})
    identify_model(str(checkpoint), scheduler=euler)
    model = load_pipeline(str(checkpoint), scheduler=euler, device="cpu")
    assert type(model.pipeline.scheduler).__name__ == "EulerDiscreteScheduler"
    assert model.pipeline.scheduler.config.timestep_spacing == "trailing"


@pytest.mark.parametrize("name", ["PNDMScheduler", "NoScheduler", "UNet2DConditionModel"])
def test_schedulers_that_cannot_be(tiny_checkpoint, name):
    for refuse in (identify_model, load_pipeline):
        with pytest.raises(ModelError, match=f"{name} cannot propagate.*DDIMScheduler"):
            refuse(str(tiny_checkpoint), scheduler=SchedulerConfig(name=name))


def test_a_scheduler_that_refuses_its_options(tiny_checkpoint):
    odd = SchedulerConfig(name="DDIMScheduler", options={"beta_schedule": "odd"})
    with pytest.raises(ModelError, match=r"DDIMScheduler refuses .*odd.*Change scheduler.options"):
        load_pipeline(str(tiny_checkpoint), scheduler=odd)


FLOW_OPTIONS = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
SHIFTED = FLOW_OPTIONS | {"use_dynamic_shifting": True}
SOLVERS = {name for name, form in SCHEDULERS.items() if {"sample", FLOW} <= set(form.predicts)}
FLOW_MATCHING = {name for name, form in SCHEDULERS.items() if form.predicts == (FLOW,)}


@pytest.mark.parametrize(
    ("family", "options", "fitting"),
    [
        ("stable-diffusion", {}, set(SCHEDULERS) - FLOW_MATCHING),
        ("stable-diffusion-3", {}, FLOW_MATCHING),
        ("stable-diffusion-3", FLOW_OPTIONS, SOLVERS | FLOW_MATCHING),
        (
            "flux-schnell",
            FLOW_OPTIONS,
            {"UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"},
        ),
        ("flux-schnell", SHIFTED, SOLVERS | {"FlowMatchEulerDiscreteScheduler"}),
    ],
)
def test_a_scheduler_that_loads_fits_the_pipeline(family, options, fitting, tmp_path):
    save(family, tmp_path / family)
    for name in SCHEDULERS:
        known = inspect.signature(getattr(diffusers, name).__init__).parameters
        taken = {key: value for key, value in options.items() if key in known}
        # Schedulers of diffusion alone do not know flow_prediction in the first place.
        if "prediction_type" in taken and "use_flow_sigmas" not in known:
            continue
        load = partial(
            load_pipeline,
            str(tmp_path / family),
            device="cpu",
            scheduler=SchedulerConfig(name=name, options=taken),
        )
        if name in fitting:
            assert np.isfinite(picture(load())).all()
        else:
            with pytest.raises(ModelError, match=f"{name} does not fit .*Pipeline: .*(Take|Set)"):
                load()


@pytest.mark.parametrize(
    ("name", "options", "remedy"),
    [
        (
            "DPMSolverMultistepScheduler",
            FLOW_OPTIONS | {"algorithm_type": "sde-dpmsolver++"},
            r"dpmsolver\+\+",
        ),
        ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}, "stochastic_sampling"),
    ],
)
def test_noise_that_no_seed_can_key_is_refused(name, options, remedy, tmp_path):
    save("stable-diffusion-3", tmp_path / "sd3")
    scheduler = SchedulerConfig(name=name, options=options)
    with pytest.raises(ModelError, match=f"{name} does not fit .*no generator.*Set .*{remedy}"):
        load_pipeline(str(tmp_path / "sd3"), device="cpu", scheduler=scheduler)


def test_eta_is_taken_along_where_the_scheduler_knows_it(tiny_checkpoint):
    tcd = SchedulerConfig(name="TCDScheduler", eta=0.3)
    assert load_pipeline(str(tiny_checkpoint), scheduler=tcd, device="cpu").eta == 0.3
    euler = SchedulerConfig(name="EulerDiscreteScheduler", eta=0.3)
    with pytest.raises(ModelError, match=r"scheduler.eta is 0.3.*EulerDiscreteScheduler.*Remove"):
        load_pipeline(str(tiny_checkpoint), scheduler=euler)


# URIs


def test_a_uri_is_downloaded_once(memory, tiny_checkpoint, cache, monkeypatch):
    fetched = []
    get_file = MemoryFileSystem.get_file

    def counted(self, source, *args, **options):
        fetched.append(source)
        get_file(self, source, *args, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", counted)
    memory.put(f"{tiny_checkpoint}/", "/models/tiny/", recursive=True)
    files = [file for file in tiny_checkpoint.rglob("*") if file.is_file()]
    with ThreadPoolExecutor(8) as pool:
        identities = set(pool.map(identify_model, ["memory://models/tiny"] * 8))
    (identity,) = identities
    assert identity.uri == "memory://models/tiny"
    assert identity.digest == identify_model(str(tiny_checkpoint)).digest
    assert len(fetched) == len(files)
    identify_model("memory://models/tiny/")
    assert len(fetched) == len(files)

    memory.pipe_file("/models/tiny/unet/config.json", b"{}")
    assert identify_model("memory://models/tiny").digest != identity.digest
    assert len(fetched) == 2 * len(files)
    assert not list(cache.rglob(".partial-*"))


def test_processes_that_start_together_see_no_half_entry(tmp_path):
    source = tmp_path / "large [v1]"
    source.mkdir()
    for number in range(4):
        (source / f"{number}.bin").write_bytes(bytes([number]) * 10_000_000)
    sizes = {f"{number}.bin": 10_000_000 for number in range(4)}
    with multiprocessing.get_context("fork").Pool(4) as pool:
        seen = pool.map(_sizes_of_download, [source.as_uri().replace("%20", " ")] * 8, 1)
    assert seen == [sizes] * 8


def _sizes_of_download(uri):
    path = download(uri.replace("%5B", "[").replace("%5D", "]"), "model")
    return {file.name: file.stat().st_size for file in path.iterdir()}


@pytest.mark.s3
def test_a_checkpoint_in_a_bucket(s3_uri, tiny_checkpoint, cache):
    bucket = fsspec.filesystem("s3", skip_instance_cache=True)
    bucket.put(f"{tiny_checkpoint}/", f"{s3_uri}/tiny/", recursive=True)
    with ThreadPoolExecutor(4) as pool:
        identities = set(pool.map(identify_model, [f"{s3_uri}/tiny"] * 4))
    (identity,) = identities
    assert identity.digest == identify_model(str(tiny_checkpoint)).digest
    assert load_pipeline(f"{s3_uri}/tiny", device="cpu").identity == identity
    (entry,) = (cache / "models").iterdir()

    bucket.pipe_file(f"{s3_uri}/tiny/scheduler/scheduler_config.json", b"{}")
    assert identify_model(f"{s3_uri}/tiny").digest != identity.digest
    assert len(list((cache / "models").iterdir())) == 2
    assert entry.is_dir()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("memory://models/none", "there is no model at 'memory://models/none'"),
        ("ftps3://user:secret@host/tiny", "'ftps3://host/tiny' cannot be had.*not known"),
        ("s3://user:secret@bucket/tiny?token=secret", "'s3://bucket/tiny' cannot be had"),
    ],
)
def test_uris_that_lead_nowhere(memory, monkeypatch, uri, message):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=message) as caught:
        identify_model(uri)
    assert "secret" not in str(caught.value)


def test_a_cache_that_cannot_be_written(memory, tmp_path, monkeypatch):
    memory.pipe_file("/models/tiny/model_index.json", b"{}")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TEMPPROP_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"a file is where a directory should be.*/file/models"):
        identify_model("memory://models/tiny")


def test_the_cache_lies_where_the_user_wants_it(monkeypatch, tmp_path):
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("TEMPPROP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_directory() == Path("/var/cache/tempprop")


def test_a_hub_id_that_cannot_be_had():
    for refuse in (identify_model, load_pipeline):
        with pytest.raises(ModelError, match=r"no directory 'no/where' here.*network.*directory"):
            refuse("no/where")


# Single files


def single_file(path, *keys):
    save_file({CHECKPOINT_KEY_NAMES[key]: torch.zeros(2, 768) for key in keys}, path)
    return str(path)


@pytest.mark.parametrize(
    ("key", "family"),
    [("v1", "StableDiffusionPipeline"), ("xl_base", "StableDiffusionXLPipeline")],
)
def test_a_single_file_is_recognized(tmp_path, key, family):
    file = single_file(tmp_path / "mine.safetensors", key)
    identity = identify_model(file)
    assert identity.pipeline_class == family
    shutil.copy(file, tmp_path / "copy.safetensors")
    assert identify_model(str(tmp_path / "copy.safetensors")).digest == identity.digest


@pytest.mark.parametrize(
    ("key", "message"),
    [("clip", "looks like nothing known"), ("xl_refiner", "looks like 'xl_refiner'")],
)
def test_a_single_file_of_another_kind(tmp_path, key, message):
    with pytest.raises(ModelError, match=f"{message}.*Convert it to a directory"):
        identify_model(single_file(tmp_path / "mine.safetensors", key))


def test_a_single_file_that_is_damaged(tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(ModelError, match=r"mine.safetensors' cannot be read.*Download it again"):
        identify_model(str(tmp_path / "mine.safetensors"))


def test_a_single_pickle(tmp_path):
    file = tmp_path / "mine.ckpt"
    torch.save({"state_dict": {CHECKPOINT_KEY_NAMES["v1"]: torch.zeros(1)}}, file)
    with pytest.raises(ModelError, match=r"not a .safetensors file.*any code.*allow_pickle"):
        identify_model(str(file))
    trusted = identify_model(str(file), allow_pickle=True)
    assert trusted.pipeline_class == "StableDiffusionPipeline"


def test_a_single_file_wants_its_configuration_from_the_hub(tmp_path):
    with pytest.raises(ModelError, match=r"cannot be loaded.*configuration from the hub"):
        load_pipeline(single_file(tmp_path / "mine.safetensors", "v1"))


# LoRAs


def save_lora(directory, checkpoint, seed=0, rename=lambda key: key):
    """Write an adapter of random weights as a training script would."""
    unet = StableDiffusionPipeline.from_pretrained(checkpoint).unet
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_k", "to_v"]))
    torch.manual_seed(seed)
    weights = {
        rename(key): torch.randn_like(value)
        for key, value in convert_state_dict_to_diffusers(get_peft_model_state_dict(unet)).items()
    }
    StableDiffusionPipeline.save_lora_weights(directory, unet_lora_layers=weights)
    return directory / "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def lora(tmp_path_factory, tiny_checkpoint):
    return save_lora(tmp_path_factory.mktemp("lora"), tiny_checkpoint)


def test_a_lora_changes_pixels_by_its_weight(tiny_checkpoint, lora, tmp_path):
    other = save_lora(tmp_path, tiny_checkpoint, seed=1)
    load = partial(load_pipeline, str(tiny_checkpoint), device="cpu")
    plain = picture(load())

    def change(*loras):
        return float(np.abs(picture(load(loras=loras)) - plain).mean())

    assert change(LoRA(path=str(lora), weight=0.0)) < 1e-6
    half, full = change(LoRA(path=str(lora), weight=0.5)), change(LoRA(path=str(lora)))
    assert 1e-4 < half < full
    assert change(LoRA(path=str(lora)), LoRA(path=str(other))) != pytest.approx(full, rel=1e-3)


def test_loras_are_identified_by_their_content(tiny_checkpoint, lora, memory, tmp_path):
    other = save_lora(tmp_path, tiny_checkpoint, seed=1)
    memory.put_file(str(lora), "/models/look.safetensors")
    places = (str(lora), str(lora.parent), "memory://models/look.safetensors", str(other))
    loras = [LoRA(path=place) for place in places]
    digests = identify_model(str(tiny_checkpoint), loras=loras).lora_digests
    assert digests[0] == digests[1] == digests[2] != digests[3]
    assert load_pipeline(str(tiny_checkpoint), loras=loras[2:]).identity.lora_digests == digests[2:]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.safetensors", "is not one file: there is no file"),
        ("empty", "0 .safetensors files are"),
        ("look.bin", "is not a .safetensors file"),
        ("memory://user:secret@models/none", "there is no LoRA at 'memory://models/none'"),
    ],
)
def test_loras_that_are_nowhere(tiny_checkpoint, tmp_path, monkeypatch, memory, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "look.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=message) as caught:
        identify_model(str(tiny_checkpoint), loras=[LoRA(path=name)])
    assert "secret" not in str(caught.value)


def no_lora(path, checkpoint):
    save_file({"weight": torch.zeros(2, 2)}, path)


def damaged(path, checkpoint):
    path.write_bytes(b"not tensors at all")


def of_another_size(path, checkpoint):
    weights = load_file(save_lora(path.parent / "made", checkpoint))
    save_file({key: value.repeat(1, 3).repeat(3, 1) for key, value in weights.items()}, path)


def of_another_family(path, checkpoint):
    def rename(key):
        return key.replace("blocks.", "blocks.7")

    save_lora(path.parent / "made", checkpoint, rename=rename).rename(path)


def of_another_network(path, checkpoint):
    weights = load_file(save_lora(path.parent / "made", checkpoint))
    save_file({f"transformer.{key[5:]}": value for key, value in weights.items()}, path)


@pytest.mark.parametrize(
    "write", [no_lora, damaged, of_another_size, of_another_family, of_another_network]
)
def test_loras_that_do_not_fit(tiny_checkpoint, tmp_path, write):
    path = tmp_path / "look.safetensors"
    write(path, tiny_checkpoint)
    with pytest.raises(ModelError, match=r"look.safetensors' does not fit the model: "):
        load_pipeline(str(tiny_checkpoint), loras=[LoRA(path=str(path))])
