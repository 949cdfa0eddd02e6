"""A connection with bounds: uvicorn's own waits for ever and takes request heads of any size.

What is not HTTP is refused as a problem like everything else, and never in place of the answer to an earlier request
of the same connection.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import socket
import struct
from typing import Any, Literal, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from doorbuster.kernel.errors import ShopError
from doorbuster.platform.http.gate import Gate
from doorbuster.platform.http.problems import ConnectionsFull, HeadTooLarge, MalformedHttp, RequestTooSlow, problem_of
from doorbuster.platform.http.raw import CLIENT_GONE, NO_SNIFFING, PLACE
from doorbuster.platform.shedding.shedder import Place

ARRIVAL_S = 15.0
"""Within this time a request must have arrived, from its first byte to the last of its body; and within it a client
must take something of an answer that it does not read fast enough."""
HEAD_BYTES_MAX = 64 * 1024
"""Of a request line and headers that come in pieces; a whole one is bounded by what is read at once (256 KiB)."""

TOLD_MAX, TOLD_WITHIN_S = 64, 1.0
"""How many connections beyond the bound are kept until they ask and are refused with a 503, and how long at most."""
HALF_CLOSED_S = 1.0
"""How long a client that has closed its half of the connection is answered, if its leaving may end the work."""

State = Literal["idle", "head", "body", "answering", "draining"]
"""What a connection is at: nothing; reading a request's head or body; an answer; the rest of a refused body."""


class BoundedHttp(HttpToolsProtocol):
    def __init__(
        self, *arguments: Any, arrival_s: float, connections_max: int, gate: Gate | None = None, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._arrival_s = arrival_s
        self._connections_max = connections_max
        self._is_one_too_many = False
        self._arriving: object = None
        self._since_s = 0.0
        self._head_bytes = 0
        self._stalled: asyncio.TimerHandle | None = None
        self._upgraded = False
        self._answering: RequestResponseCycle | None = None
        self._half_closed: asyncio.TimerHandle | None = None
        self._gate = gate
        self._place: Place | None = None
        self._shed: RequestResponseCycle | None = None
        self._refused_s = 0.0
        """When the last request was refused that the parser has not seen."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self._since_s = self.loop.time()
        beyond = len(self.connections) - self._connections_max
        if beyond > 0:
            self._refuse_connection(beyond)
        else:
            self._expect_more("head")

    def _refuse_connection(self, beyond: int) -> None:
        """The first beyond the bound are told so when they ask; where even those are many, at once is soon enough."""
        if beyond > TOLD_MAX:
            self.transport.abort()
            return
        self._is_one_too_many = True
        self.timeout_keep_alive_task = self.loop.call_later(TOLD_WITHIN_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._is_one_too_many:
            self._refuse(ConnectionsFull())
            return
        if self._gate is not None and self._gate.is_full and self._refuse_plain(data, self._gate):
            return
        shed_before = self._shed
        super().data_received(data)
        if self._upgraded:
            return
        cycle = self.cycle
        if cycle is self._shed and self._shed is not None and not cycle.more_body and cycle.scope is self.scope:
            return  # refused, and whole
        # On the hot path a request is whole now, and being answered.
        if not cycle or cycle.more_body or cycle.response_complete or cycle.scope is not self.scope:
            if self._place is not None and cycle and cycle.more_body:
                self._place.step_out()  # until its body is here: slow clients take nobody's place
            # After requests that were refused on the spot, most of the data was theirs.
            self._note_part(len(data) if self._shed is shed_before else 0)

    def _refuse_plain(self, data: bytes, gate: Gate) -> bool:
        """Refuses a whole request without parsing it, if that is what it is and there is no room for it."""
        if self.flow.write_paused or self._state() != "idle":
            return False
        refusal = gate.refuse_plain(data)
        if refusal is None:
            return False
        self._refused_s = self.loop.time()
        self.transport.write(refusal)
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._gate is None:
            self._answering = cycle  # `cycle` of the connection is the last that has arrived, perhaps not yet begun
            super()._start_asgi_task(cycle, app)
            return
        place = self._gate.admit(cast("Any", cycle.scope))
        if place is None:
            self._answering = self._shed = cycle
            self._shed_now(cycle, self._gate)
            return
        self._answering, self._place = cycle, place
        cast("Any", cycle.scope)[PLACE] = place
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(functools.partial(self._over, cycle, place, self._gate))
        self.tasks.add(task)

    def _over(self, cycle: RequestResponseCycle, place: Place, gate: Gate, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if self._place is place:
            self._place = None
        gate.leave(place, cast("Any", cycle.scope), cycle.response_complete and not cycle.disconnected)

    def on_response_complete(self) -> None:
        """Gives the place back with the answer: the client's next request may be read before the task is over."""
        place, self._place = self._place, None
        if place is not None and self._gate is not None and self._answering is not None:
            self._gate.leave(place, cast("Any", self._answering.scope), answered=True)
        super().on_response_complete()

    def _shed_now(self, cycle: RequestResponseCycle, gate: Gate) -> None:
        """Refuses without a task. What is still to come of the request is read and thrown away."""
        cycle.response_started = cycle.response_complete = True
        keep_alive = cycle.keep_alive and not cycle.waiting_for_100_continue
        if self.transport.is_closing():
            return
        self.transport.write(gate.refusal(cast("Any", cycle.scope), keep_alive))
        if not keep_alive:
            self.transport.close()
        elif self.pipeline:  # each in a turn of its own, or a thousand in a row would be as deep
            self.loop.call_soon(self.on_response_complete)
        else:
            self.on_response_complete()
        if self.flow.write_paused:
            self.flow.pause_reading()  # who does not read refusals does not get more of them

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if cycle is self._shed and self._shed is not None:
            cycle.more_body = False
        elif self._place is not None and not self._place.inside and cycle is self._answering:
            self._place.step_in()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_longer_stalled()
        if self._half_closed is not None:
            self._half_closed.cancel()
        answering = self._answering
        if answering is not None and not answering.response_complete:
            answering.disconnected = True
            gone = cast("Any", answering.scope).get(CLIENT_GONE)
            if gone is not None:
                gone()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._place is not None:
            self._place.step_out()  # the client does not read
        self._stalled = self.loop.call_later(self._arrival_s, self._cut_off)

    def _cut_off(self) -> None:
        """Resets the connection: closed in order, what the client does not take would stay with the system."""
        connection: socket.socket | None = self.transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def resume_writing(self) -> None:
        self._no_longer_stalled()
        super().resume_writing()
        if self._shed is not None and self._shed is self._answering and not self.pipeline:
            self.flow.resume_reading()

    def _no_longer_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio declares it
        """A client that says that it has sent everything still gets its answer, unless that has no end.

        Most who say so have left. Work that ends with its client is given HALF_CLOSED_S; the rest is carried through.
        """
        waits = self._state() == "answering" and not self.cycle.more_body and not self._is_endless()
        if waits:
            self.cycle.keep_alive = False
            self._half_closed = self.loop.call_later(HALF_CLOSED_S, self._given_up)
        return waits

    def _given_up(self) -> None:
        answering = self._answering
        if answering is not None and not answering.response_complete and CLIENT_GONE in answering.scope:
            self.transport.abort()

    def shutdown(self) -> None:
        """The server stops: what has an end is finished, a stream is cut, so that its client connects anew."""
        if self._is_endless():
            self.transport.close()
        else:
            super().shutdown()

    def _is_endless(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete and "endless" in cycle.scope

    def handle_websocket_upgrade(self) -> None:
        """The connection is another protocol's from now on; not before earlier requests are answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if self.pipeline or (cycle is not None and not cycle.response_complete):
            if cycle is not None:
                cycle.keep_alive = False
            self.flow.pause_reading()
            return
        self._upgraded = True
        super().handle_websocket_upgrade()

    def _state(self) -> State:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if self.pipeline:
            return "answering"
        if cycle is not None and not cycle.response_complete and (cycle.response_started or not cycle.more_body):
            return "answering"
        if cycle is None or cycle.scope is not self.scope:
            return "head" if self.scope else "idle"
        if cycle.response_complete:
            return "draining" if cycle.more_body else "idle"
        return "body"

    def _note_part(self, size: int) -> None:
        """Something has arrived, but not a whole request: the rest must come in time."""
        if self.transport.is_closing():
            return
        if self._arriving is not self.scope:
            self._arriving, self._since_s, self._head_bytes = self.scope, self.loop.time(), 0
        state = self._state()
        if state in ("head", "answering"):
            self._head_bytes += size
        if self._head_bytes <= HEAD_BYTES_MAX:
            self._expect_more(state)
        elif state == "answering":
            self.flow.pause_reading()  # until the answer is sent
        else:
            self._refuse(HeadTooLarge(limit_bytes=HEAD_BYTES_MAX))

    def _expect_more(self, state: State) -> None:
        self._unset_keepalive_if_required()
        due_s = self.loop.time() + self.timeout_keep_alive if state == "idle" else self._since_s + self._arrival_s
        self.timeout_keep_alive_task = self.loop.call_at(due_s, self._give_up)

    def timeout_keep_alive_handler(self) -> None:
        """uvicorn's timer after an answer. Refusals that the parser has not seen leave it as it is."""
        if not self._was_refused_lately():
            super().timeout_keep_alive_handler()

    def _was_refused_lately(self) -> bool:
        """Then an idle connection is not idle for as long as its timer thinks; and gets the rest of its time."""
        due_s = self._refused_s + self.timeout_keep_alive
        if self._state() != "idle" or due_s <= self.loop.time():
            return False
        self.timeout_keep_alive_task = self.loop.call_at(due_s, self._give_up)
        return True

    def _give_up(self) -> None:
        if self._was_refused_lately():
            return
        state = self._state()
        if state in ("head", "body") and self.scope:
            self._refuse(RequestTooSlow())
        elif state != "answering" and not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        """What has arrived is not HTTP."""
        state = self._state()
        if state == "answering" and not self.cycle.more_body:
            self.cycle.keep_alive = False  # whole requests before the garbage are answered first
            self.flow.pause_reading()
        elif state in ("answering", "draining"):
            self.transport.close()
        else:
            self._refuse(MalformedHttp())

    def _refuse(self, error: ShopError) -> None:
        """Answers and closes. A handler that waits for the rest of the body learns that its client is gone."""
        if self.transport.is_closing():
            return
        request_id = secrets.token_hex(8)
        status, headers, body = problem_of(error, request_id)
        headers += [
            NO_SNIFFING,
            (b"x-request-id", request_id.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, body))
        self.transport.close()
