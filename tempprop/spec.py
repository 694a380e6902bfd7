"""The frozen values that cross borders: a clip, its configuration, its result, its key.

Nothing here computes, reads or writes anything but a hash. A `ClipSpec` is one row of a manifest
with every default filled in, so that two machines that hold the same spec mean the same pixels.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tempprop.encoding.profiles import PROFILES, ProfileName
from tempprop.keyframes import Track, within

RENDER_VERSION = 4
"""Raised whenever the same spec would give other pixels than before."""

RECORD_SCHEMA_VERSION: Literal[1] = 1

CLIP_ID_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"

DEFAULT_PROJECT = ""

Attention = Literal["none", "first", "first+prev"]
"""Whose keys and values join those of a frame: nobody's, frame 0's, also the previous frame's."""


ErrorKind = Literal[
    "input",
    "out of memory",
    "poisoned process",
    "worker death",
    "infrastructure",
    "preempted",
    "unknown",
]
"""Why an attempt at a clip failed, by what has to be done about it; see `cluster.failures`."""


class Frozen(BaseModel):
    """Base of all values: immutable, no unknown fields, no silent conversion of types."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )


class LoRA(Frozen):
    """A low-rank adapter that is loaded into the model.

    Attributes:
        path: Local file, directory or URI of a safetensors LoRA.
        weight: Scale of the adapter; 1 is its full strength.
    """

    path: str = Field(min_length=1)
    weight: float = 1.0


class Motion(Frozen):
    """The camera's motion from each frame to the next, as Deforum's 2D mode names it.

    Every field is a number, or keyframes such as `0:(1.0), 24:(1.04)`: straight lines between
    them, held before the first and after the last. The value at frame f leads from frame f - 1
    to frame f. The signs say what the picture does, see `tempprop.motion`.

    Attributes:
        zoom: Factor a frame about the center, 0.1 to 10: above 1 the picture grows, 1 is none.
        translation_x: Pixels a frame, -8192 to 8192: above 0 the picture moves to the right.
        translation_y: Pixels a frame, -8192 to 8192: above 0 the picture moves down.
        angle: Degrees a frame about the center, -360 to 360: above 0 the picture turns
            counter-clockwise.
    """

    zoom: Annotated[Track, AfterValidator(within(0.1, 10))] = ((0, 1.0),)
    translation_x: Annotated[Track, AfterValidator(within(-8192, 8192))] = ((0, 0.0),)
    translation_y: Annotated[Track, AfterValidator(within(-8192, 8192))] = ((0, 0.0),)
    angle: Annotated[Track, AfterValidator(within(-360, 360))] = ((0, 0.0),)


class PromptKeyframe(Frozen):
    """What a clip shows at one of its frames.

    Attributes:
        frame: Number of the frame, from 0; it may lie beyond the end of the clip.
        prompt: What it shows.
    """

    frame: int = Field(ge=0, le=100_000)
    prompt: str = Field(min_length=1)


def _in_order(keyframes: tuple[PromptKeyframe, ...]) -> tuple[PromptKeyframe, ...]:
    frames = [keyframe.frame for keyframe in keyframes]
    if frames != sorted(set(frames)):
        raise ValueError("its frames do not ascend")
    return keyframes


class ClipSettings(Frozen):
    """What a manifest row may set and a configuration gives defaults for.

    Attributes:
        negative_prompt: What guidance leads away from; empty for none.
        num_frames: Length of the clip in frames.
        fps: Frames per second of the media file, 0.1 to 240.
        width: Width in pixels; a multiple of 8.
        height: Height in pixels; a multiple of 8.
        num_inference_steps: Denoising steps of every frame.
        guidance_scale: Classifier-free guidance, as diffusers counts it for the model's family.
        prompt_interpolation: How embeddings move between the keyframes of `prompts`: straight
            (`linear`) or on an arc that keeps their norm (`slerp`).
        motion: How the camera moves; by default it stands still.
        loop: Whether the last frame leads back into the first, so that the clip plays in a circle.
        noise_correlation: Correlation rho of the initial noise of neighbouring frames, 0 to 1.
        propagation_strength: Coupling lambda to the frames before at the first step, 0 to 1.
        propagation_end: Fraction of the schedule after which the coupling is zero, 0 to 1.
        propagation_keeps: What stays fixed while the clean estimate moves: the `noise` estimate
            (stiff, near frozen at high strength) or the `sample` (looser, more motion). With UniPC,
            whose corrector makes its own sample, they differ at the first step only.
        propagation_low_pass: Standard deviation, in latent pixels, of the Gaussian below which
            frames are coupled; 0 couples every frequency.
        anchor_weight: Share gamma of the anchor, against the previous frame, in the coupling, 0 to
            1.
        keyframe_interval: Frames from one anchor to the next, 0 to 100000; 0 keeps frame 0 as the
            only anchor. See `tempprop.anchors`.
        color_coherence: Share of the anchor's channel statistics that every frame takes over, 0 to
            1.
        motion_floor: Least distance that the coupling leaves between a frame and what it is drawn
            to, in standard deviations of the frame's clean estimate, 0 to 1. It keeps a strongly
            coupled clip from freezing; 0 lets it freeze.
        attention: Whose keys and values join each frame's own in self-attention: those of frame 0
            (`first`), also those of the previous frame (`first+prev`), or nobody's (`none`).
    """

    negative_prompt: str = ""
    num_frames: int = Field(default=16, ge=1, le=100_000)
    fps: float = Field(default=8.0, ge=0.1, le=240)
    width: int = Field(default=128, ge=8, le=8192, multiple_of=8)
    height: int = Field(default=128, ge=8, le=8192, multiple_of=8)
    num_inference_steps: int = Field(default=12, ge=1, le=1000)
    guidance_scale: float = Field(default=2.5, ge=0, le=100)
    prompt_interpolation: Literal["linear", "slerp"] = "linear"
    motion: Motion = Motion()
    loop: bool = False
    noise_correlation: float = Field(default=0.988, ge=0, le=1)
    propagation_strength: float = Field(default=1.0, ge=0, le=1)
    propagation_end: float = Field(default=1.0, ge=0, le=1)
    propagation_keeps: Literal["noise", "sample"] = "sample"
    propagation_low_pass: float = Field(default=0.0, ge=0, le=16)
    anchor_weight: float = Field(default=0.5, ge=0, le=1)
    keyframe_interval: int = Field(default=0, ge=0, le=100_000)
    color_coherence: float = Field(default=0.3, ge=0, le=1)
    motion_floor: float = Field(default=0.02, ge=0, le=1)
    attention: Attention = "none"


class ClipSpec(ClipSettings):
    """One clip to render: a manifest row with every value resolved.

    Attributes:
        clip_id: Unique name of the clip in its manifest.
        prompt: What the clip shows; with `prompts`, what frame 0 shows.
        prompts: What later frames show, in the order of the frames. The prompt moves from one to
            the next; the last one stays. One for frame 0 takes the place of `prompt`.
        init_image: Path or URI of a picture that becomes frame 0, to which the other frames are
            coupled; None for a clip that starts from noise. See `tempprop.init_image`.
        seed: Key of all of the clip's noise, 0 to 2^63 - 1.
        model: Checkpoint: `mini`, a directory, a file, a URI or a hub id.
        loras: Low-rank adapters on top of the model, in order.
        priority: Clips of higher priority are rendered first.
        project: Whom the clip belongs to; free text for queries.
        tags: Free labels for queries.
    """

    clip_id: str = Field(pattern=CLIP_ID_PATTERN)
    prompt: str = Field(min_length=1)
    prompts: Annotated[tuple[PromptKeyframe, ...], AfterValidator(_in_order)] = ()
    init_image: Annotated[str, Field(min_length=1)] | None = None
    seed: int = Field(ge=0, lt=2**63)
    model: str = Field(min_length=1)
    loras: tuple[LoRA, ...] = ()
    priority: int = Field(default=0, ge=-(2**31), lt=2**31)
    project: str = DEFAULT_PROJECT
    tags: Mapping[str, str] = Field(default_factory=dict)


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class EncoderConfig(Frozen):
    """How frames become a media file. What is not given takes the profile's default.

    Attributes:
        profile: Kind of media file, see `tempprop.encoding.profiles`: `h264`, `hevc` and `av1` in
            MP4, `vp9` in WebM, `prores` (422 HQ) in MOV, `ffv1` (lossless) in Matroska, `gif`,
            `webp`, and the sequences `png` and `exr` with a file for each frame.
        crf: Constant rate factor of h264, hevc (0 to 51), av1 and vp9 (0 to 63): less is better
            and larger.
        preset: Speed against size, by the encoder's own names: `medium` for h264 and hevc, `8` for
            av1 (0 to 13), `2` for vp9 (0 to 5).
        pixel_format: By FFmpeg's names, such as `yuv420p` or `yuv420p10le`.
        quality: Of webp, 0 to 100.
        loop: How often a gif or webp is played; 0 for without end.
        nvenc: Whether to encode on the GPU where NVIDIA's encoder works; elsewhere, and that is in
            the record, in software. Its pictures are not those of the software encoders.
        preview: Whether a small animation for pages is made as well.
    """

    profile: ProfileName = "h264"
    crf: int | None = Field(default=None, ge=0)
    preset: Annotated[str, BeforeValidator(_number_as_text)] | None = None
    pixel_format: str = ""
    quality: int | None = Field(default=None, ge=0, le=100)
    loop: int | None = Field(default=None, ge=0, le=65535)
    nvenc: bool = False
    preview: bool = True

    @model_validator(mode="before")
    @classmethod
    def _with_defaults_of_the_profile(cls, values: Any) -> Any:
        profile = PROFILES.get(values.get("profile", "h264")) if isinstance(values, dict) else None
        if profile is None:
            return values
        defaults = profile.defaults()
        given = {name: value for name, value in values.items() if value not in (None, "")}
        return defaults | given

    @model_validator(mode="after")
    def _as_the_profile_allows(self) -> "EncoderConfig":
        for name, choices in PROFILES[self.profile].choices().items():
            value = getattr(self, name)
            if value is None or value in choices:
                continue
            what = {"name": name, "value": str(value), "profile": self.profile}
            text = "{name} {value} does not go with the profile {profile}, which "
            if len(choices) == 0:
                raise PydanticCustomError("encoder", text + "has none: leave it out", what)
            is_range = isinstance(choices, range)
            shown = f"{choices[0]} to {choices[-1]}" if is_range else ", ".join(map(str, choices))
            raise PydanticCustomError(
                "encoder", text + "takes {choices}", what | {"choices": shown}
            )
        return self


class FinishingConfig(Frozen):
    """Steps between rendering and encoding, none by default; the record names them.

    Attributes:
        upscale: Factor by which width and height grow, rounded to even pixels.
        upscale_filter: How FFmpeg scales.
        interpolate_fps: Frames per second after interpolation, above the clip's own; the clip takes
            as long as before. FFmpeg's `minterpolate` follows the motion of blocks; it takes about
            a second of a core for ten frames of 512x512.
    """

    upscale: float | None = Field(default=None, gt=1, le=8)
    upscale_filter: Literal["lanczos", "bicubic", "spline", "neighbor"] = "lanczos"
    interpolate_fps: float | None = Field(default=None, gt=0, le=240)


class WatermarkConfig(Frozen):
    """A visible watermark, of a text or a picture.

    Attributes:
        text: What is written, on one line.
        image: Path of a picture, best a PNG with what is transparent; it takes the place of a text.
        image_sha256: Digest of the picture's file, which is looked up where it is not given.
        font: Path of a TrueType or OpenType font for the text; None for the one that comes with
            Pillow, which has plain Latin letters only.
        font_sha256: Digest of the font's file, which is looked up where it is not given.
        corner: Where it stands.
        opacity: 0 to 1.
        height: Of its letters or of the picture, as a share of the clip's height.
        margin: To the edges, as a share of the clip's height.
    """

    text: str | None = Field(default=None, min_length=1, max_length=200)
    image: str | None = Field(default=None, min_length=1)
    image_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    font: str | None = Field(default=None, min_length=1)
    font_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    corner: Literal["top-left", "top-right", "bottom-left", "bottom-right"] = "bottom-right"
    opacity: float = Field(default=0.7, gt=0, le=1)
    height: float = Field(default=0.05, gt=0, le=1)
    margin: float = Field(default=0.03, ge=0, le=0.4)

    @model_validator(mode="after")
    def _one_of_both(self) -> "WatermarkConfig":
        if (self.text is None) == (self.image is None):
            raise PydanticCustomError("watermark", "give a text or an image, one of both")
        if self.font is not None and self.text is None:
            raise PydanticCustomError("watermark", "a font is for a text, and there is none")
        return self


class ProvenanceConfig(Frozen):
    """What media say of where they come from; see `tempprop.provenance`.

    That a model has made them stands in every file in any case. With a certificate they are signed.

    Attributes:
        certificate: Path of the chain in PEM, the signer's certificate first; None signs nothing.
        private_key: Path of its private key in PEM; None takes it from the environment.
        private_key_variable: Name of the environment variable that holds it.
        algorithm: Of the signature, by C2PA's names.
        timestamp_url: Time-stamp authority (RFC 3161); None for none.
        include_prompt: Whether files tell the prompt.
    """

    certificate: str | None = None
    private_key: str | None = None
    private_key_variable: str = Field(default="TEMPPROP_SIGNING_KEY", pattern=r"^[A-Za-z0-9_]+$")
    algorithm: Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = "es256"
    timestamp_url: str | None = None
    include_prompt: bool = False


class SchedulerConfig(Frozen):
    """A scheduler to use instead of the checkpoint's own.

    Attributes:
        name: Class name in diffusers, for example `EulerDiscreteScheduler`.
        options: Values that replace those of the checkpoint's scheduler configuration.
        eta: Share of fresh noise in every step, 0 to 1, for the schedulers that take one (DDIM;
            TCD, whose paper calls it gamma); None for the pipeline's own default.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9]+$")
    options: Mapping[str, JsonValue] = Field(default_factory=dict)
    eta: float | None = Field(default=None, ge=0, le=1)


class WorkerConfig(Frozen):
    """What each worker process takes from the cluster, and when it is taken for broken.

    Attributes:
        num_workers: How many; None for one a GPU, or one on a machine without GPUs.
        num_gpus: GPUs of each worker, also fractions; None for 1 where the cluster has any, else 0.
        torch_threads: Threads of each worker on the CPU; None shares the cores out evenly.
        canary: Whether each new worker first renders a picture whose pixels are known.
        heartbeat_seconds: A worker that does not answer for so long is ended.
        clip_timeout_seconds: So long a worker may take for a clip in any case.
        clip_timeout_factor: And so many times what the slowest clips of the run took, in proportion
            to frames, steps and pixels.
        first_clip_timeout_seconds: Where no clip of the model has been finished yet, and while it
            loads its first model.
        quarantine_after: A worker that has failed so many clips which succeeded elsewhere gets no
            more of them.
        capacity_timeout_seconds: How long a run waits while it has no worker at all.
    """

    num_workers: int | None = Field(default=None, ge=1)
    num_gpus: float | None = Field(default=None, ge=0)
    torch_threads: int | None = Field(default=None, ge=1)
    canary: bool = True
    heartbeat_seconds: float = Field(default=120.0, gt=0)
    clip_timeout_seconds: float = Field(default=300.0, gt=0)
    clip_timeout_factor: float = Field(default=10.0, ge=1)
    first_clip_timeout_seconds: float = Field(default=3600.0, gt=0)
    quarantine_after: int = Field(default=3, ge=1)
    capacity_timeout_seconds: float = Field(default=600.0, gt=0)


class RetryConfig(Frozen):
    """When the dispatcher gives up on a clip: so often may it fail, by the kind of the error.

    Attributes:
        max_attempts: By errors of its own.
        max_out_of_memory: By memory that does not suffice; the second try has a worker for itself.
        max_worker_deaths: By the death of the worker that holds it.
        max_infrastructure: By the loss of a machine or of the storage.
    """

    max_attempts: int = Field(default=3, ge=1)
    max_out_of_memory: int = Field(default=2, ge=1)
    max_worker_deaths: int = Field(default=3, ge=1)
    max_infrastructure: int = Field(default=20, ge=1)


CREDENTIALS_IN_CONFIG = "credentials_in_config"
"""Type of the finding that a configuration holds what may be secret: its value is shown nowhere."""

LOOKS_SECRET = re.compile(r"key|secret|token|passw|credential|connection_string|sas", re.IGNORECASE)
CREDENTIALS_BELONG = (
    "credentials do not belong into a configuration, which is kept and shown in many places. Set "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (for gs:// "
    "GOOGLE_APPLICATION_CREDENTIALS, for az:// AZURE_STORAGE_CONNECTION_STRING)"
)


def _without_credentials(values: Any) -> Any:
    if isinstance(values, Mapping) and any(LOOKS_SECRET.search(str(name)) for name in values):
        raise PydanticCustomError(CREDENTIALS_IN_CONFIG, CREDENTIALS_BELONG)
    return values


def _http_address(value: object) -> object:
    """Take an address without user, password and query."""
    if not isinstance(value, str):
        return value
    place = value.partition("://")[2]
    if "@" in place or "?" in place:
        raise PydanticCustomError(CREDENTIALS_IN_CONFIG, CREDENTIALS_BELONG)
    if not re.fullmatch(r"https?://[^/\s]+/?[^\s]*", value):
        raise PydanticCustomError("endpoint_url", "must be http://HOST:PORT or https://HOST")
    return value


class StorageConfig(Frozen):
    """The server that holds the output. What is left out is taken from the environment.

    There is no place for credentials: they come from the environment, a profile or the machine's
    role. For S3 all settings count; gs:// takes `endpoint_url` and `anonymous`, az:// and abfs://
    take `anonymous`.

    Attributes:
        endpoint_url: Address of an S3 server other than Amazon's; None for AWS_ENDPOINT_URL.
        region: None for AWS_DEFAULT_REGION or the profile's.
        profile: Section of the AWS configuration files; None for AWS_PROFILE.
        anonymous: Whether requests carry no credentials at all.
        addressing_style: Whether the bucket is a part of the path or of the host name; None for the
            client's choice, which is `auto`.
    """

    endpoint_url: Annotated[str, BeforeValidator(_http_address)] | None = None
    region: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = None
    profile: Annotated[str, Field(min_length=1)] | None = None
    anonymous: bool = False
    addressing_style: Literal["path", "virtual", "auto"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_credentials(cls, values: Any) -> Any:
        return _without_credentials(values)


def _auto_or_count(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise PydanticCustomError("frames_per_batch", "must be auto, or a whole number from 1")


FramesPerBatch = Annotated[Literal["auto"] | int, PlainValidator(_auto_or_count)]
"""Frames that are denoised together, or `auto` for as many as are fastest and fit."""


AcceleratorType = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""As Ray names it, see `ray.util.accelerators`."""


class RenderConfig(Frozen):
    """A model and a look: what `configs/*.yaml` hold.

    Attributes:
        model: Checkpoint of the clips that name none.
        revision: Branch, tag or commit, for a hub id.
        dtype: Precision of the weights and of denoising.
        scheduler: Replaces the checkpoint's scheduler.
        allow_pickle: Also load weights that are not safetensors. Such files can run any code:
            only for checkpoints whose author you trust.
        frames_per_batch: Frames that are denoised together, of one clip or of several: `auto` takes
            what is fastest and fits into memory, measured once a model and size.
        seed: Seed of the clips that name none; None derives one from the clip_id.
        clip: Defaults of the manifest's columns.
        encoder: Media file settings.
        finishing: Steps before encoding: larger pictures, frames in between.
        provenance: What media say of where they come from.
        watermark: Drawn on every frame; None for none.
        workers: Worker processes.
        resources: The type of accelerator that the clips of a model need, by the name of the model:
            a type as Ray names it, such as `A100` or `H100`. Other models render on any.
        retries: Limits of trying again.
        storage: The server that holds the output; what is left out comes from the environment.
    """

    model: str = Field(default="mini", min_length=1)
    revision: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    scheduler: SchedulerConfig | None = None
    allow_pickle: bool = False
    frames_per_batch: FramesPerBatch = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    clip: ClipSettings = ClipSettings()
    encoder: EncoderConfig = EncoderConfig()
    finishing: FinishingConfig = FinishingConfig()
    provenance: ProvenanceConfig = ProvenanceConfig()
    watermark: WatermarkConfig | None = None
    workers: WorkerConfig = WorkerConfig()
    resources: Mapping[str, AcceleratorType] = Field(default_factory=dict)
    retries: RetryConfig = RetryConfig()
    storage: StorageConfig = StorageConfig()


class ModelIdentity(Frozen):
    """Which weights rendered a clip.

    Attributes:
        uri: Where the checkpoint came from, without credentials.
        pipeline_class: Name of the diffusers pipeline.
        digest: sha256 over the checkpoint's files, hexadecimal.
        lora_digests: sha256 of each LoRA file, in the order of the spec.
    """

    uri: str
    pipeline_class: str
    digest: str
    lora_digests: tuple[str, ...] = ()


class Media(Frozen):
    """A committed media file.

    Attributes:
        url: Path of the file below the output root. That of a sequence is the pattern of its files,
            as in `media/a.0123456789abcdef/a.%05d.png`, from 0 on, as FFmpeg and Nuke read it.
        poster_url: Path of the JPEG of frame 0 below the output root.
        preview_url: Path of the small WebP animation below the output root; None for none.
        checksums_url: Of a sequence, path of the file with the digest of each frame's file, as
            `sha256sum --check` reads it; None for a single file.
        sha256: Digest of the file, hexadecimal; of a sequence, that of its file of digests.
        bytes: Size of the file, or of all files of a sequence.
        codec: Name of the video codec as probed.
        pixel_format: FFmpeg's name of the pixel format as probed.
        encoder: FFmpeg's name of the encoder.
        encoder_instead: Why it is not the encoder that was asked for; None where it is.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        num_frames: Frames that decode.
        duration_seconds: Length.
    """

    url: str
    poster_url: str
    preview_url: str | None = None
    checksums_url: str | None = None
    sha256: str
    bytes: int
    codec: str
    pixel_format: str = ""
    encoder: str = ""
    encoder_instead: str | None = None
    width: int
    height: int
    fps: float
    num_frames: int
    duration_seconds: float


class Provenance(Frozen):
    """What the files of a clip say of where they come from.

    Attributes:
        digital_source_type: IPTC's term, which stands in every file that has a place for it.
        signature: `embedded` in the media file, or `sidecar`, which is the poster that tells the
            digest of the media; None where nothing is signed.
        signer: Name on the signer's certificate.
        certificate_sha256: Digest of the signer's certificate, hexadecimal.
    """

    digital_source_type: str
    signature: Literal["embedded", "sidecar"] | None = None
    signer: str | None = None
    certificate_sha256: str | None = None


class StageSeconds(Frozen):
    """Wall-clock seconds that a clip spent in each stage."""

    denoise: float = 0.0
    decode: float = 0.0
    encode: float = 0.0
    upload: float = 0.0


class Attempt(Frozen):
    """One try at a clip that did not work out.

    Attributes:
        kind: What had to be done about it.
        error_class: Name of the exception class.
        message: Its message, shortened.
        worker: Name of the worker.
        node: Host name of the worker's machine; empty when it died before it could tell.
        gpu: Number of the worker's GPU on that machine; empty where it has none.
        seconds: How long the attempt took.
    """

    kind: ErrorKind
    error_class: str
    message: str
    worker: str
    node: str = ""
    gpu: str = ""
    seconds: float = 0.0


class ClipResult(Frozen):
    """A rendered and committed clip: the content of `records/<key>.json`.

    Attributes:
        schema_version: Version of this layout.
        key: Content key of the clip, see `clip_key`.
        clip_id: Name of the clip in its manifest.
        spec: Everything that was asked for, resolved.
        model: The weights.
        init_image_sha256: Digest of the picture's file that the clip starts from; None for none.
        encoder: Media file settings.
        finishing: Steps between rendering and encoding.
        dtype: Precision that the clip was rendered in.
        scheduler: What replaced the checkpoint's scheduler; None for nothing.
        render_version: `RENDER_VERSION` of then; None in records that are older than this field.
        versions: Versions of the libraries that shape pixels.
        media: The file.
        watermark: What is drawn on its frames; None for nothing.
        provenance: What it says of where it comes from; None in records of before it said so.
        quality: Temporal figures of the clip, see `tempprop.quality`.
        seconds: Time spent.
        frames_per_batch: Frames that were denoised together: fewer than the configuration says
            where memory ran out.
        hardware: Host name, device and so on.
        failed_attempts: The tries before the one that worked, in order.
        run_id: The run that rendered it.
        parent_key: Key of the clip that this one is a new take of.
        created_at: Time of the record, UTC.
    """

    schema_version: Literal[1] = RECORD_SCHEMA_VERSION
    key: str
    clip_id: str = Field(pattern=CLIP_ID_PATTERN)
    spec: ClipSpec
    model: ModelIdentity
    init_image_sha256: str | None = None
    encoder: EncoderConfig
    finishing: FinishingConfig = FinishingConfig()
    dtype: str
    scheduler: SchedulerConfig | None = None
    render_version: int | None = None
    versions: Mapping[str, str]
    media: Media
    watermark: WatermarkConfig | None = None
    provenance: Provenance | None = None
    quality: Mapping[str, float]
    seconds: StageSeconds
    frames_per_batch: int
    hardware: Mapping[str, str]
    failed_attempts: tuple[Attempt, ...] = ()
    run_id: str
    parent_key: str | None = None
    created_at: datetime


class ClipFailure(Frozen):
    """A clip that was given up: the content of `failures/<key>.json`.

    Attributes:
        schema_version: Version of this layout.
        key: Content key of the clip.
        clip_id: Name of the clip in its manifest.
        spec: Everything that was asked for, resolved.
        error_class: Name of the last exception class.
        message: Last message.
        traceback: Last traceback; empty when the worker died.
        attempts: Every try, in order.
        run_id: The run that gave up.
        created_at: Time of the record, UTC.
    """

    schema_version: Literal[1] = RECORD_SCHEMA_VERSION
    key: str
    clip_id: str = Field(pattern=CLIP_ID_PATTERN)
    spec: ClipSpec
    error_class: str
    message: str
    traceback: str
    attempts: tuple[Attempt, ...]
    run_id: str
    created_at: datetime


NOT_IN_KEY = {"model", "loras", "init_image", "priority", "project", "tags"}
"""Fields of a spec that leave the pixels alone, or that are in the key by their digest."""


def prompt_keyframes(spec: ClipSpec) -> tuple[PromptKeyframe, ...]:
    """Give all keyframes of a prompt in order; `prompt` is that of frame 0 if there is no other."""
    if spec.prompts and spec.prompts[0].frame == 0:
        return spec.prompts
    return (PromptKeyframe(frame=0, prompt=spec.prompt), *spec.prompts)


def clip_key(
    spec: ClipSpec,
    config: RenderConfig,
    model: ModelIdentity,
    init_image_sha256: str | None = None,
) -> str:
    """Name a clip by everything that shapes its pixels, and by nothing else.

    Priority, project, tags, worker counts and batch sizes are left out; weights and the picture
    that a clip starts from count by their digest and not by their path. The clip_id counts, so that
    two rows that ask for the same picture are two clips.

    Args:
        spec: The resolved clip.
        config: Where the encoder, the scheduler and the precision come from.
        model: The weights, by digest.
        init_image_sha256: Digest of the picture that the clip starts from; None for none.

    Returns:
        A sha256 as 64 hexadecimal digits.
    """
    identity: dict[str, Any] = {
        "render_version": RENDER_VERSION,
        "spec": spec.model_dump(mode="json", exclude=NOT_IN_KEY),
        "init_image": init_image_sha256,
        "model": model.digest,
        "loras": [
            [digest, lora.weight]
            for digest, lora in zip(model.lora_digests, spec.loras, strict=True)
        ],
        "dtype": config.dtype,
        "scheduler": config.scheduler.model_dump(mode="json") if config.scheduler else None,
        "encoder": config.encoder.model_dump(mode="json", exclude={"preview"}),
        "finishing": config.finishing.model_dump(mode="json"),
        "watermark": config.watermark.model_dump(mode="json", exclude={"image", "font"})
        if config.watermark is not None
        else None,
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def seed_from_clip_id(clip_id: str) -> int:
    """Derive a seed from a clip's name, so that clips without a seed differ and repeat.

    Returns:
        The first 63 bits of the name's sha256.
    """
    return int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big") >> 1
