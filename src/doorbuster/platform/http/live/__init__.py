"""Live streams over WebSocket and server-sent events; docs/live.md says how to use and to add one."""

from doorbuster.platform.http.live.conduct import Live
from doorbuster.platform.http.live.following import ReadAfter, pages_after
from doorbuster.platform.http.live.route import LiveRoute
from doorbuster.platform.http.live.socket import Error, LiveSocket, MessageMalformed, SocketGone, stream
from doorbuster.platform.http.live.sse import MEDIA_TYPE, STREAMS, EventStream, event_stream, last_event_id

__all__ = [
    "MEDIA_TYPE",
    "STREAMS",
    "Error",
    "EventStream",
    "Live",
    "LiveRoute",
    "LiveSocket",
    "MessageMalformed",
    "ReadAfter",
    "SocketGone",
    "event_stream",
    "last_event_id",
    "pages_after",
    "stream",
]
