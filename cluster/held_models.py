"""The models that a worker has in memory: the one used longest ago goes when room is needed."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch

from tempprop.errors import is_out_of_memory
from tempprop.memory import release_memory
from tempprop.pipeline import LoadedModel
from tempprop.planned_clip import Weights
from tempprop.prompts import PromptEncoder, prompt_encoder

logger = logging.getLogger("tempprop.worker")


@dataclass(frozen=True)
class HeldModel:
    """A model that is ready to render.

    Attributes:
        model: The pipeline.
        encoder: Encodes its prompts, and remembers them.
        size: Bytes of its weights.
    """

    model: LoadedModel
    encoder: PromptEncoder
    size: int


class HeldModels:
    """Models by their names, loaded when they are wanted. Not for several threads at a time.

    Args:
        budget: Bytes that the weights of all models together may take; one is held in any case.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held: OrderedDict[Weights, HeldModel] = OrderedDict()
        self._sizes: dict[Weights, int] = {}

    @property
    def names(self) -> tuple[Weights, ...]:
        """What is held, the one used last first."""
        return tuple(reversed(list(self._held)))

    def get(self, weights: Weights, load: Callable[[], LoadedModel]) -> HeldModel:
        """Give a model, loaded if need be.

        A model that was never here is given all the room that there is: its size is not known.

        Args:
            weights: Its name and LoRAs.
            load: Loads it.

        Raises:
            Exception: Whatever `load` raises.
        """
        if weights not in self._held:
            self._make_room(self._sizes.get(weights, self._budget))
            self._held[weights] = self._loaded(load)
            self._sizes[weights] = self._held[weights].size
        self._held.move_to_end(weights)
        return self._held[weights]

    def let_go(self) -> None:
        """Forget all models."""
        self._make_room(self._budget)

    def _loaded(self, load: Callable[[], LoadedModel]) -> HeldModel:
        model = None
        try:
            model = load()
        except Exception as error:
            if not self._held or not is_out_of_memory(error):
                raise
        if model is None:
            # Outside of the handler, whose traceback holds on to what was loaded.
            self.let_go()
            model = load()
        return HeldModel(model, prompt_encoder(model), size_of(model))

    def _make_room(self, size: int) -> None:
        while self._held and sum(held.size for held in self._held.values()) + size > self._budget:
            (name, _), _ = self._held.popitem(last=False)
            logger.info("let %s go", name)
        release_memory()


def size_of(model: LoadedModel) -> int:
    """Count the bytes of a pipeline's weights."""
    networks = [
        network
        for network in model.pipeline.components.values()
        if isinstance(network, torch.nn.Module)
    ]
    return sum(
        tensor.numel() * tensor.element_size()
        for network in networks
        for tensor in [*network.parameters(), *network.buffers()]
    )


def device_memory() -> int:
    """Tell how much memory there is where models are held, in bytes."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return int(psutil.virtual_memory().total)
