"""The one thread of a worker that renders: clips that fit together share its batches."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Literal

from cluster.held_models import HeldModel
from tempprop.batch_size import measured_frames_per_batch
from tempprop.checkpoint import ClipState
from tempprop.errors import Interrupted
from tempprop.frames import FrameChunk
from tempprop.pipeline import LoadedModel
from tempprop.planned_clip import PlannedClip
from tempprop.render import batch_key, render_clips
from tempprop.spec import ClipSpec

CHUNKS_AHEAD = 16
"""Decoded chunks of a clip that may wait for its encoder before denoising waits too: 48 MB."""

LOOK_UP_SECONDS = 0.5
"""How often a full queue is looked at again, to see whether anybody still wants it."""


class Renderer:
    """Renders the clips that other threads ask for, one batch after the other.

    A clip of the same `batch_key` joins as soon as a batch has room, others wait. Where a batch of
    several clips fails, each of them goes on alone, so that only the one to blame fails.

    Args:
        open_model: Gives the model of a clip, with the prompts that it remembers.
        frames_per_batch: Frames that are denoised together; `auto` measures what is fastest.
        on_step: Called before each step with the share done of each clip; may raise to stop.
    """

    def __init__(
        self,
        open_model: Callable[[PlannedClip], HeldModel],
        frames_per_batch: int | Literal["auto"],
        on_step: Callable[[Mapping[str, float]], None],
    ) -> None:
        self._open_model = open_model
        self._wanted = frames_per_batch
        self._on_step = on_step
        self._fitting: dict[tuple[object, ...], int] = {}
        self._waiting: deque[_Order] = deque()
        self._changed = threading.Condition()
        self.frames_per_batch = 0
        """Of the clips that are being rendered; 0 before the first."""
        threading.Thread(target=self._work, name="renderer", daemon=True).start()

    def frames(
        self, clip: PlannedClip, state: ClipState | None = None
    ) -> Generator[FrameChunk, None, None]:
        """Have a clip rendered.

        Args:
            clip: What to render.
            state: What the frames that are done leave to the others; None for a clip that begins.

        Yields:
            Its frames, in order, as they come.

        Raises:
            Exception: Whatever the rendering of the clip raises, after the frames before it.
        """
        order = _Order(clip, state)
        with self._changed:
            self._waiting.append(order)
            self._changed.notify()
        try:
            yield from order.delivered()
        finally:
            order.cancel()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                first = self._waiting.popleft()
            self._serve(first)

    def _serve(self, first: "_Order") -> None:
        """Render a clip, those that join it, and what is left of them after a failure."""
        groups: deque[tuple[list[_Order], bool]] = deque([([first], True)])
        while groups:
            orders, sociable = groups.popleft()
            failure = self._failure_of(orders, sociable)
            left = [order for order in orders if order.wanted]
            if isinstance(failure, _Cancelled):
                groups.append((left, sociable))
            elif failure is not None and (len(left) == 1 or isinstance(failure, Interrupted)):
                for order in left:
                    order.fail(failure)
            else:
                groups.extend(([order], False) for order in left)
            # Its traceback holds on to the tensors of the batch.
            del failure

    def _failure_of(self, orders: list["_Order"], sociable: bool) -> Exception | None:
        """Render clips together, with those that come while there is room if they are sociable.

        Args:
            orders: The clips; those that join are added, and finished ones taken away.
            sociable: Whether others may join.

        Returns:
            What stopped it before all were finished; None where nothing did.
        """
        try:
            if orders:
                self._render(orders, sociable)
        except Exception as error:
            return error
        return None

    def _render(self, orders: list["_Order"], sociable: bool) -> None:
        spec = orders[0].clip.spec
        key = batch_key(spec)
        held = self._open_model(orders[0].clip)
        model = held.model
        self.frames_per_batch = self._size(model, spec, key)

        def order_of(clip_id: str) -> _Order:
            return next(order for order in orders if order.clip.spec.clip_id == clip_id)

        def more() -> ClipSpec | None:
            order = self._fellow(key) if sociable else None
            if order is None:
                return None
            orders.append(order)
            return order.clip.spec

        def on_step(shares: Mapping[str, float]) -> None:
            self._on_step(shares)
            if any(order.cancelled for order in orders):
                raise _Cancelled

        chunks = render_clips(
            model,
            [order.clip.spec for order in orders],
            frames_per_batch=self.frames_per_batch,
            encoder=held.encoder,
            states={order.clip.spec.clip_id: order.state for order in orders if order.state},
            picture_digest=lambda clip_id: order_of(clip_id).clip.init_image_sha256,
            more=more,
            on_step=on_step,
        )
        for chunk in chunks:
            self._fitting[key] = self.frames_per_batch = chunk.frames_per_batch
            order = order_of(chunk.clip_id)
            order.deliver(chunk)
            if order.finished:
                orders.remove(order)

    def _size(self, model: LoadedModel, spec: ClipSpec, key: tuple[object, ...]) -> int:
        if key not in self._fitting:
            self._fitting[key] = (
                measured_frames_per_batch(model, spec) if self._wanted == "auto" else self._wanted
            )
        return self._fitting[key]

    def _fellow(self, key: tuple[object, ...]) -> "_Order | None":
        """Take the clip that waits for longest among those that can share a batch.

        One that goes on from a state begins a batch of its own.
        """
        with self._changed:
            for order in self._waiting:
                if order.state is None and batch_key(order.clip.spec) == key:
                    self._waiting.remove(order)
                    return order
        return None


class _Cancelled(Exception):  # noqa: N818 - nobody but the renderer sees it
    """A clip of the batch is not wanted any more."""


class _Order:
    """A clip that somebody waits for, and what has been delivered of it."""

    def __init__(self, clip: PlannedClip, state: ClipState | None) -> None:
        self.clip = clip
        self.state = state
        self.cancelled = False
        self.finished = False
        """All of its frames have been delivered, or it has failed."""
        self._frames_delivered = state.next_frame if state is not None else 0
        self._queue: Queue[FrameChunk | Exception | None] = Queue(CHUNKS_AHEAD)

    @property
    def wanted(self) -> bool:
        """Whether there is something left to do for it."""
        return not (self.cancelled or self.finished)

    def deliver(self, chunk: FrameChunk) -> None:
        """Hand frames over, waiting for the receiver; those that it already has are left out."""
        again = self._frames_delivered - chunk.first_frame
        if again < len(chunk.frames):
            self._put(chunk.from_frame(max(0, again)))
            self._frames_delivered = chunk.first_frame + len(chunk.frames)
        if chunk.state is not None:
            self.state = chunk.state
        if self._frames_delivered == self.clip.spec.num_frames:
            self.finished = True
            self._put(None)

    def fail(self, error: Exception) -> None:
        """Tell the receiver that no more frames come."""
        self.finished = True
        self._put(error)

    def delivered(self) -> Generator[FrameChunk, None, None]:
        """Give the frames out as they come."""
        while (item := self._queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def cancel(self) -> None:
        """Stop wanting frames; whoever waits to deliver some goes on at once."""
        self.cancelled = True
        with suppress(Empty):
            while True:
                self._queue.get_nowait()

    def _put(self, item: FrameChunk | Exception | None) -> None:
        while not self.cancelled:
            with suppress(Full):
                self._queue.put(item, timeout=LOOK_UP_SECONDS)
                break
