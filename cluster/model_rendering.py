"""The half of a worker that renders with models.

It has a module of its own because it needs PyTorch and diffusers, which take seconds to import:
workers that are only given test cards come up without them.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch

from cluster.held_models import HeldModel, HeldModels, device_memory
from cluster.renderer import Renderer
from tempprop.canary import canary_fault
from tempprop.errors import ModelError
from tempprop.pipeline import LoadedModel, load_pipeline
from tempprop.planned_clip import PlannedClip
from tempprop.spec import RenderConfig

MODELS_SHARE = 0.6
"""Of the memory, for the weights of models; the rest is for denoising and decoding."""

logger = logging.getLogger("tempprop.worker")


class ModelRendering:
    """Holds models, and renders the clips that the threads of a worker ask for.

    Args:
        config: How models are loaded.
        node: Name of the machine, for messages.
        torch_threads: Threads of PyTorch on the CPU.
        on_step: Called before each step with the share done of each clip; may raise to stop.

    Attributes:
        held: The models.
        renderer: Renders with them.
        device: Name of the GPU; empty where there is none.
    """

    def __init__(
        self,
        config: RenderConfig,
        node: str,
        torch_threads: int,
        on_step: Callable[[Mapping[str, float]], None],
    ) -> None:
        torch.set_num_threads(torch_threads)
        self._config = config
        self._node = node
        self.held = HeldModels(int(MODELS_SHARE * device_memory()))
        self.renderer = Renderer(self.open, config.frames_per_batch, on_step)
        self.device = torch.cuda.get_device_name() if torch.cuda.is_available() else ""

    def canary_fault(self) -> str | None:
        """Say what a picture that is known shows about this device; None where all is well."""
        return canary_fault()

    def open(self, clip: PlannedClip) -> HeldModel:
        """Hold the model of a clip and its prompts.

        Raises:
            Exception: Whatever keeps the model from being loaded.
        """
        return self.held.get(clip.weights, partial(self._load, clip))

    def _load(self, clip: PlannedClip) -> LoadedModel:
        started = time.perf_counter()
        model = load_pipeline(
            clip.spec.model,
            revision=self._config.revision,
            dtype=self._config.dtype,
            scheduler=self._config.scheduler,
            loras=clip.spec.loras,
            allow_pickle=self._config.allow_pickle,
        )
        if model.identity != clip.identity:
            raise ModelError(
                f"{self._node} holds other weights of the model {clip.spec.model!r} than the "
                f"machine that planned the run: {model.identity.digest[:16]} instead of "
                f"{clip.identity.digest[:16]}. Put the same files on both"
            )
        logger.info(
            "loaded %s (%s) on %s of %s in %.1f s",
            model.identity.uri,
            model.identity.pipeline_class,
            model.device,
            self._node,
            time.perf_counter() - started,
        )
        return model
