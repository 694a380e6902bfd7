"""The Ray actor that holds models: a planned clip comes in, a committed record goes out."""

import logging
import os
import shutil
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from cluster.draining import DrainNotice
from cluster.failures import FailedAttempt, kind_of_error
from cluster.process_tree import ProcessOnNode, this_process
from tempprop.encode import encode_clip
from tempprop.errors import InputError, Interrupted, TempPropError
from tempprop.frames import FrameChunk, Frames
from tempprop.machine import processor, shaping_versions
from tempprop.media_objects import upload_media
from tempprop.mini import unknown_words
from tempprop.planned_clip import PlannedClip, Weights
from tempprop.provenance.claim import claim_of
from tempprop.provenance.sealing import Seal, provenance_of, read_identity
from tempprop.quality import QualityMeter
from tempprop.spec import (
    RENDER_VERSION,
    Attempt,
    ClipResult,
    ClipSpec,
    Media,
    Provenance,
    RenderConfig,
    StageSeconds,
    prompt_keyframes,
)
from tempprop.store import commit, open_store
from tempprop.test_card import draw_test_card, is_test_card
from tempprop.unfinished import (
    UNFINISHED,
    DoneFrames,
    load_unfinished,
    remove_unfinished,
    unfinished_keys,
)
from tempprop.watermark import watermarked

if TYPE_CHECKING:
    from cluster.model_rendering import ModelRendering
    from tempprop.provenance.signing import SigningIdentity

TEMPORARY_PREFIX = "tempprop-worker-"

logger = logging.getLogger("tempprop.worker")


@dataclass(frozen=True)
class Introduction:
    """Who a worker is, once it is ready, or why it is not.

    Attributes:
        process: Its process.
        node: Host name.
        gpu: Number of its GPU on that machine; empty where it has none.
        accelerator: Type of its GPU, as Ray names it; None where it has none, or a nameless one.
        problem: Why the model of the first clip cannot be used at all; None where it can.
        fault: What the picture that it tried itself by has shown; None where it is as it should be.
    """

    process: ProcessOnNode
    node: str
    gpu: str
    accelerator: str | None = None
    problem: str | None = None
    fault: str | None = None


@dataclass(frozen=True)
class WorkerReport:
    """What a worker has to say when it is asked.

    Attributes:
        process: Its process.
        progress: Share of the frame-steps done, 0 to 1, of each clip in work.
        log: Lines that were logged since the last report, with their levels.
        frames_per_batch: Frames that it denoises together; 0 before the first clip.
        models: Models that it has in memory, the one used last first.
        draining: Whether its machine is about to be taken away.
    """

    process: ProcessOnNode
    progress: dict[str, float] = field(default_factory=dict)
    log: list[tuple[int, str]] = field(default_factory=list)
    frames_per_batch: int = 0
    models: tuple[Weights, ...] = ()
    draining: bool = False


class RenderWorker:
    """A process that holds models and renders clips with them.

    Several clips are in work at once: while some denoise, those before them are still being encoded
    and uploaded. The actor therefore runs with several threads, a clip in each, and one more that
    renders for all of them.

    When the run is stopped, or its machine is taken away, it puts what is done of the clips in work
    into the store, so that they go on from there.

    Args:
        name: What the run calls it.
        out: Output location, opened in this process.
        config: Model and look.
        run_id: The run, for the records.
        torch_threads: Threads of PyTorch on the CPU.
    """

    def __init__(
        self, name: str, out: str, config: RenderConfig, run_id: str, torch_threads: int
    ) -> None:
        remove_leftovers()
        self._name = name
        self._store = open_store(out, storage=config.storage)
        self._config = config
        self._run_id = run_id
        self._process = this_process()
        self._node = socket.gethostname()
        self._torch_threads = torch_threads
        # Looking them up takes longer than writing a record.
        self._versions = shaping_versions()
        self._stopping = threading.Event()
        self._notice = DrainNotice()
        self._unfinished = unfinished_keys(self._store)
        self._test_card = threading.Lock()
        self._progress: dict[str, float] = {}
        self._models: ModelRendering | None = None
        self._opening = threading.Lock()
        self._log = _LogBuffer()
        logging.getLogger("tempprop").addHandler(self._log)
        logging.getLogger("tempprop").setLevel(logging.INFO)

    def load(self, clip: PlannedClip | None) -> Introduction:
        """Make ready: try itself by a picture that is known, and load the model of a clip.

        Args:
            clip: The one that it is likely to render first; None where there is none.

        Raises:
            Exception: Whatever keeps the model from being loaded and is not in its files.
        """
        if self._config.workers.canary and (fault := self._with_models().canary_fault()):
            return self._introduction(fault=fault)
        try:
            # Before a clip is rendered that could not be signed here.
            _ = self._signing_identity
            if clip is not None and not is_test_card(clip.spec.model):
                self._with_models().open(clip)
        except InputError as error:
            return self._introduction(problem=str(error))
        return self._introduction()

    def render(
        self, clip: PlannedClip, failed_attempts: tuple[Attempt, ...] = ()
    ) -> ClipResult | FailedAttempt:
        """Render, encode, upload and commit one clip.

        Args:
            clip: What to render.
            failed_attempts: The tries before this one.

        Returns:
            The record that was committed, or what went wrong.
        """
        started = time.perf_counter()
        try:
            return self._produce(clip, failed_attempts)
        except Exception as error:
            return FailedAttempt(
                kind=kind_of_error(error),
                error_class=type(error).__name__,
                message=str(error),
                traceback=traceback.format_exc(),
                seconds=time.perf_counter() - started,
            )
        finally:
            self._progress.pop(clip.spec.clip_id, None)

    def report(self) -> WorkerReport:
        """Say how far the clips in work are, and what was logged since the last report."""
        return WorkerReport(
            self._process,
            dict(self._progress),
            self._log.drain(),
            self._models.renderer.frames_per_batch if self._models else 0,
            self._models.held.names if self._models else (),
            self._notice.look(),
        )

    def stop(self) -> None:
        """Give up the clips that denoise, at their next step; finished ones are still committed."""
        self._stopping.set()

    def let_go(self) -> None:
        """Forget all models: no more clips will come."""
        if self._models:
            self._models.held.let_go()

    def _introduction(self, problem: str | None = None, fault: str | None = None) -> Introduction:
        return Introduction(
            process=self._process,
            node=self._node,
            gpu=gpu_number(),
            accelerator=accelerator_type(self._process.node_id) if gpu_number() else None,
            problem=problem,
            fault=fault,
        )

    def _produce(self, clip: PlannedClip, failed_attempts: tuple[Attempt, ...]) -> ClipResult:
        spec, key = clip.spec, clip.key
        self._refuse_if_stopping(spec.clip_id)
        self._warn_of_unknown_words(spec)
        seal = self._seal(clip)
        tally = _Tally()
        may_go_on = key in self._unfinished or bool(failed_attempts)
        with temporary_directory() as directory:
            there = directory / UNFINISHED
            begun = load_unfinished(self._store, spec, key, there) if may_go_on else None
            done = DoneFrames(spec, directory)
            frames = tally.counted(done.kept(self._frames(clip, len(failed_attempts) + 1, begun)))
            try:
                with closing(frames):
                    encoded = encode_clip(
                        watermarked(frames, self._config.watermark),
                        directory,
                        f"{spec.clip_id}.{key[:16]}",
                        fps=spec.fps,
                        num_frames=spec.num_frames,
                        width=spec.width,
                        height=spec.height,
                        encoder=self._config.encoder,
                        finishing=self._config.finishing,
                        seal=seal,
                    )
            except Interrupted as reason:
                saved = done.save(self._store, key)
                raise Interrupted(
                    f"{reason}; {saved} of {spec.num_frames} frames are kept"
                ) from None
            except Exception:
                # What it went on from may be to blame.
                if begun is not None:
                    self._remove_unfinished(key)
                raise
            encode_seconds = time.perf_counter() - tally.last_frame_at
            started = time.perf_counter()
            media = upload_media(self._store, encoded, spec.clip_id, key)
        result = self._result(
            clip,
            failed_attempts,
            media,
            provenance=provenance_of(seal, encoded.signature),
            quality=tally.figures(),
            seconds=StageSeconds(
                denoise=tally.denoise,
                decode=tally.decode,
                encode=encode_seconds,
                upload=time.perf_counter() - started,
            ),
            frames_per_batch=tally.frames_per_batch,
        )
        committed = commit(self._store, result)
        if may_go_on:
            self._remove_unfinished(key)
        return committed

    def _seal(self, clip: PlannedClip) -> Seal:
        config = self._config.provenance
        claim = claim_of(clip.spec, clip.key, clip.identity, include_prompt=config.include_prompt)
        return Seal(claim, self._signing_identity)

    @cached_property
    def _signing_identity(self) -> "SigningIdentity | None":
        return read_identity(self._config.provenance)

    def _remove_unfinished(self, key: str) -> None:
        # What cannot be removed lies there and harms nobody: the clip is judged without it.
        with suppress(TempPropError):
            remove_unfinished(self._store, key)

    def _result(
        self,
        clip: PlannedClip,
        failed_attempts: tuple[Attempt, ...],
        media: Media,
        *,
        provenance: Provenance | None,
        quality: Mapping[str, float],
        seconds: StageSeconds,
        frames_per_batch: int,
    ) -> ClipResult:
        return ClipResult(
            key=clip.key,
            clip_id=clip.spec.clip_id,
            spec=clip.spec,
            model=clip.identity,
            init_image_sha256=clip.init_image_sha256,
            encoder=self._config.encoder,
            finishing=self._config.finishing,
            watermark=self._config.watermark,
            dtype=self._config.dtype,
            scheduler=self._config.scheduler,
            render_version=RENDER_VERSION,
            versions=self._versions,
            media=media,
            provenance=provenance,
            quality=quality,
            seconds=seconds,
            frames_per_batch=frames_per_batch,
            hardware=self._hardware(),
            failed_attempts=failed_attempts,
            run_id=self._run_id,
            created_at=datetime.now(UTC),
        )

    def _hardware(self) -> dict[str, str]:
        """Say on what it renders."""
        gpu = self._models.device if self._models else ""
        return {
            "worker": self._name,
            "host": self._node,
            "gpu": gpu_number(),
            "device": gpu or processor(),
            "torch_threads": str(self._torch_threads),
        }

    def _note_progress(self, shares: Mapping[str, float]) -> None:
        """Remember how far the clips of a batch are; stop them if that is asked for."""
        self._refuse_if_stopping(*shares)
        self._progress.update(shares)

    def _with_models(self) -> "ModelRendering":
        """Give what renders with models."""
        from cluster.model_rendering import ModelRendering  # noqa: PLC0415 - it takes seconds

        with self._opening:
            if self._models is None:
                self._models = ModelRendering(
                    self._config, self._node, self._torch_threads, self._note_progress
                )
        return self._models

    def _frames(
        self, clip: PlannedClip, attempt: int, begun: FrameChunk | None
    ) -> Generator[FrameChunk, None, None]:
        """Have a clip rendered, by the model or as a test card; `begun` is what is done of it."""
        if begun is not None:
            yield begun
        if not is_test_card(clip.spec.model):
            yield from self._with_models().renderer.frames(
                clip, begun.state if begun is not None else None
            )
            return
        clip_id = clip.spec.clip_id
        # As a GPU does, which renders one batch at a time while those before are encoded.
        with self._test_card:
            chunks = draw_test_card(
                clip.spec, attempt, lambda share: self._note_progress({clip_id: share})
            )
            drawn = list(chunks)
        yield from drawn

    def _refuse_if_stopping(self, *clip_ids: str) -> None:
        if self._stopping.is_set():
            raise Interrupted(f"{', '.join(clip_ids)}: given up because the run was stopped")
        if self._notice.given:
            raise Interrupted(f"{', '.join(clip_ids)}: given back, {self._node} is taken away")

    def _warn_of_unknown_words(self, spec: ClipSpec) -> None:
        prompts = " ".join(keyframe.prompt for keyframe in prompt_keyframes(spec))
        words = unknown_words(prompts) if spec.model == "mini" else []
        if words:
            logger.warning(
                "clip %r: the embedded model does not know: %s", spec.clip_id, ", ".join(words)
            )


RenderWorkerActor = ray.remote(RenderWorker)
"""`RenderWorker` as a Ray actor class; options are given by `cluster.pool`."""


def gpu_number() -> str:
    """Tell which GPU of its machine this process was given by Ray; empty for none."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


def accelerator_type(node_id: str) -> str | None:
    """Tell which type of accelerator a machine of the cluster has, as Ray names it."""
    (node,) = [node for node in ray.nodes() if node["NodeID"] == node_id]  # type: ignore[no-untyped-call]
    prefix = "accelerator_type:"
    types = [name.removeprefix(prefix) for name in node["Resources"] if name.startswith(prefix)]
    return types[0] if types else None


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Make a directory for a clip's files, named so that `remove_leftovers` knows its owner."""
    prefix = f"{TEMPORARY_PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def remove_leftovers() -> None:
    """Remove temporary directories whose worker was killed before it could."""
    for directory in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*"):
        owner = directory.name.removeprefix(TEMPORARY_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(directory, ignore_errors=True)


class _Tally:
    """What is known of a clip when its frames have gone by."""

    def __init__(self) -> None:
        self._meter = QualityMeter()
        self.denoise = 0.0
        self.decode = 0.0
        self.frames_per_batch = 0
        self.last_frame_at = time.perf_counter()
        self._frame_steps = 0
        self._frame_steps_lowered = 0

    def counted(self, chunks: Generator[FrameChunk, None, None]) -> Generator[Frames, None, None]:
        """Pass the frames on, and count what it took to make them."""
        with closing(chunks):
            for chunk in chunks:
                self.last_frame_at = time.perf_counter()
                self.denoise += chunk.denoise_seconds
                self.decode += chunk.decode_seconds
                self.frames_per_batch = chunk.frames_per_batch
                self._frame_steps += chunk.frame_steps
                self._frame_steps_lowered += chunk.frame_steps_lowered
                self._meter.add(chunk.frames)
                yield chunk.frames

    def figures(self) -> dict[str, float]:
        """Give the figures of the pictures, and the `RENDER_FIGURES`."""
        lowered = self._frame_steps_lowered / self._frame_steps
        return self._meter.figures() | {"motion_floor_acted": lowered}


class _LogBuffer(logging.Handler):
    """Keeps log lines until the dispatcher fetches them."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append((record.levelno, self.format(record)))

    def drain(self) -> list[tuple[int, str]]:
        lines, self._lines = self._lines, []
        return lines
