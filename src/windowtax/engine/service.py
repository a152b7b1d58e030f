"""The engine as a service: one thread owns it; requests come from any thread or asyncio task, and each gets an answer.

Law 9 holds here: whatever happens (a full queue, a step that raises, a deadline, the end of the server), a request ends
in tokens or in a typed error that its owner receives.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from windowtax.base.errors import WindowtaxError
from windowtax.base.units import format_seconds
from windowtax.engine.engine import Engine
from windowtax.engine.isolate import isolate
from windowtax.engine.news import Box, Failed, Finished, Progress, Text
from windowtax.engine.request import Event, FinishReason, Request
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.tally import Tally

log = logging.getLogger("windowtax.service")
T = TypeVar("T")
_MOST_UNEXPLAINED = 3
"""Steps in a row that may raise although no sequence is running: then it is the engine, and trying again is no use."""


class Overloaded(WindowtaxError):
    """The queue is full. retry_after_s: when a place is likely to be free."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, f"Try again in {retry_after_s:.0f} s.")
        self.retry_after_s = retry_after_s


class TookTooLong(WindowtaxError):
    """A request that was not finished when its time was up."""


class ShuttingDown(WindowtaxError):
    """The server is about to end and takes nothing more."""


class StepFailed(WindowtaxError):
    """Computing a step raised. The request that it was about cannot go on; the others do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """max_waiting: requests that may wait beside those that run. timeout_s: for a whole request; None for no limit."""

    max_waiting: int = 256
    timeout_s: float | None = None


@dataclass(eq=False)
class Ticket:
    """A request that was handed in. It is its owner's handle: news of it arrive in the box, under its index."""

    prompt_ids: list[int]
    params: SamplingParams
    box: Box
    index: int
    salt: str
    priority: int
    handed_in: float
    deadline: float | None
    request: Request | None = None


class EngineService:
    """Runs an engine in a thread of its own. Everything that touches the engine happens there."""

    def __init__(
        self, engine: Engine, limits: ServiceLimits = ServiceLimits(), clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.engine = engine
        self.limits = limits
        self.tally = Tally()
        self._clock = clock
        self._changed = threading.Condition()
        self._incoming: deque[Ticket] = deque()
        self._withdrawn: deque[Ticket] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._tickets: dict[str, Ticket] = {}
        self._closing: float | None = None
        self._unexplained = 0
        self._broken: WindowtaxError | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Starts the engine's thread."""
        self._thread.start()

    def submit(
        self,
        prompt_ids: list[int],
        params: SamplingParams,
        *,
        box: Box,
        index: int = 0,
        salt: str = "",
        priority: int = 0,
        timeout_s: float | None = None,
    ) -> Ticket:
        """Hands in a request from any thread. Raises Overloaded, ShuttingDown, and StepFailed for a broken engine.

        What the engine itself refuses arrives in the box. timeout_s: for this request; the service's limit counts too.
        """
        limits = [limit for limit in (timeout_s, self.limits.timeout_s) if limit is not None]
        now = self._clock()
        deadline = now + min(limits) if limits else None
        ticket = Ticket(prompt_ids, params, box, index, salt, priority, now, deadline)
        with self._changed:
            self._refuse()
            self._incoming.append(ticket)
            self._changed.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Ends a request that its owner no longer wants; its blocks are free after the step that is running."""
        with self._changed:
            self._withdrawn.append(ticket)
            self._changed.notify()

    def do(self, work: Callable[[Engine], T]) -> Future[T]:
        """Runs `work` on the engine between two steps, in the thread that owns it. Raises ShuttingDown, StepFailed."""
        done: Future[T] = Future()

        def errand() -> None:
            if not done.set_running_or_notify_cancel():
                return  # whoever wanted it has left
            try:
                done.set_result(work(self.engine))
            except BaseException as error:
                done.set_exception(error)

        with self._changed:
            if self.trouble is not None:
                raise self.trouble
            self._errands.append(errand)
            self._changed.notify()
        return done

    def close(self, drain_s: float = 0.0) -> None:
        """Takes nothing more from now on; what runs after so many seconds ends with ShuttingDown. Returns at once."""
        with self._changed:
            deadline = self._clock() + drain_s
            self._closing = deadline if self._closing is None else min(self._closing, deadline)
            self._changed.notify()

    def join(self) -> None:
        """Waits until the engine's thread has ended; `close` comes before."""
        if self._thread.is_alive():
            self._thread.join()

    @property
    def num_waiting(self) -> int:
        """Requests that no step has computed yet."""
        return len(self._incoming) + len(self.engine.scheduler.waiting)

    @property
    def num_running(self) -> int:
        """Requests that hold blocks."""
        return len(self.engine.scheduler.running)

    @property
    def trouble(self) -> WindowtaxError | None:
        """Why nothing can be computed: the engine broke, or the server is ending. None: all is well."""
        if self._broken is not None:
            return self._broken
        return ShuttingDown("The server is shutting down.") if self._closing is not None else None

    def _refuse(self) -> None:
        trouble = self.trouble
        if trouble is not None:
            raise trouble
        if self.num_waiting >= self.limits.max_waiting:
            wait_s = max(1.0, self.tally.seconds_per_request * self.num_waiting)
            raise Overloaded(
                f"{self.num_waiting:,} requests wait already, as many as this server lets wait.", min(wait_s, 120.0)
            )

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception as error:
            log.exception("the engine's thread failed")
            self._break(error)
        finally:
            self.engine.close()

    def _turn(self) -> bool:
        """Takes what came in, ends what is over, computes one step. False: this was the last turn."""
        with self._changed:
            self._changed.wait_for(self._has_something)
            incoming, withdrawn, errands = list(self._incoming), list(self._withdrawn), list(self._errands)
            self._incoming.clear()
            self._withdrawn.clear()
            self._errands.clear()
        for ticket in incoming:
            self._take(ticket)
        for ticket in withdrawn:
            self._end(ticket, None)
        for errand in errands:
            errand()
        self._end_what_is_late()
        if self._closing is not None and (self._clock() >= self._closing or not self._tickets):
            self._close()
            return False
        if self.engine.has_work:
            self._step()
        return self._broken is None

    def _has_something(self) -> bool:
        waiting = self._incoming or self._withdrawn or self._errands
        return bool(waiting or self.engine.has_work or self._closing is not None)

    def _take(self, ticket: Ticket) -> None:
        try:
            request = self.engine.add(ticket.prompt_ids, ticket.params, salt=ticket.salt, priority=ticket.priority)
        except WindowtaxError as error:
            ticket.box.put(Failed(index=ticket.index, error=error))
        except Exception as error:
            log.exception("a request could not be added")
            failed = StepFailed(f"The engine could not take this request: {type(error).__name__}: {error}")
            ticket.box.put(Failed(index=ticket.index, error=failed))
        else:
            request.meter.arrived = ticket.handed_in
            ticket.request = request
            self._tickets[request.request_id] = ticket

    def _end(self, ticket: Ticket, error: WindowtaxError | None) -> None:
        """Ends a request before its time: with an error for its owner, or, without one, because the owner left."""
        request = ticket.request
        if request is None or self._tickets.pop(request.request_id, None) is None:
            return
        self.engine.cancel(request.request_id)
        self.tally.ended(request, FinishReason.CANCELLED if error is None else None)
        if error is None:
            ticket.box.put(Finished(index=ticket.index, reason=FinishReason.CANCELLED, request=request))
        else:
            ticket.box.put(Failed(index=ticket.index, error=error, request=request))

    def _end_what_is_late(self) -> None:
        now = self._clock()
        late = [ticket for ticket in self._tickets.values() if ticket.deadline is not None and now >= ticket.deadline]
        for ticket in late:
            took = format_seconds(now - ticket.handed_in)
            self._end(ticket, TookTooLong(f"The request was not finished after {took}, which is its limit."))

    def _step(self) -> None:
        began = self._clock()
        try:
            events = self.engine.step()
        except Exception as error:
            log.exception("a step failed")
            self._recover(error)
            return
        self.tally.stepped(self._clock() - began)
        self._report(events)

    def _report(self, events: list[Event]) -> None:
        for event in events:
            ticket = self._tickets.get(event.request_id)
            if ticket is not None and ticket.request is not None:
                self._tell(ticket, ticket.request, event)

    def _tell(self, ticket: Ticket, request: Request, event: Event) -> None:
        if event.token_id is None and event.finish_reason is None:
            progress = Progress(
                index=ticket.index,
                num_computed_tokens=min(event.num_computed_tokens, request.sequence.num_prompt_tokens),
                num_cached_tokens=request.num_cached_tokens,
                seconds=self._clock() - ticket.handed_in,
            )
            ticket.box.put(progress)
            return
        if event.token_id is not None:
            self.tally.sampled(request)
            logprobs = () if event.logprob is None else (event.logprob,)
            ticket.box.put(Text(index=ticket.index, token_ids=(event.token_id,), text=event.text, logprobs=logprobs))
        if event.finish_reason is not None:
            del self._tickets[event.request_id]
            self.tally.ended(request, event.finish_reason)
            ticket.box.put(Finished(index=ticket.index, reason=event.finish_reason, request=request))

    def _recover(self, error: Exception) -> None:
        """Finds out which sequences a step cannot compute, ends those, and goes on with the others."""
        try:
            found = isolate(self.engine)
            for request_id, why in found.guilty.items():
                failed = StepFailed(
                    f"Computing this request raised {type(why).__name__}: {why}",
                    "The server goes on. The log has the trace.",
                )
                self._end(self._tickets[request_id], failed)
            self.tally.failed_steps += 1
            self._report(found.events)
            self._unexplained = 0 if found.num_tried else self._unexplained + 1
            if self._unexplained >= _MOST_UNEXPLAINED:
                raise error
        except Exception as worse:
            log.exception("the engine is beyond repair")
            self._break(worse)

    def _break(self, error: Exception) -> None:
        self._broken = StepFailed(
            f"The engine broke: {type(error).__name__}: {error}", "Restart it; the log has the trace."
        )
        self._fail_all(self._broken)

    def _fail_all(self, error: WindowtaxError) -> None:
        for ticket in list(self._tickets.values()):
            ticket.box.put(Failed(index=ticket.index, error=error, request=ticket.request))
        self._tickets.clear()
        with self._changed:
            waiting = list(self._incoming)
            self._incoming.clear()
        for ticket in waiting:
            ticket.box.put(Failed(index=ticket.index, error=error))

    def _close(self) -> None:
        over = ShuttingDown("The server shut down before this request was finished.")
        for ticket in list(self._tickets.values()):
            self._end(ticket, over)
        self._fail_all(over)
