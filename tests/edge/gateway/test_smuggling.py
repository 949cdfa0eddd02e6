"""What attackers send to make two servers read one request differently, or to be taken for somebody else."""

from __future__ import annotations

import pytest

from doorbuster.edge.gateway.settings import Authentication, GatewaySettings, Route
from edge.gateway.world import Echo, gateway_world, served, to
from leaks import Leaks

BEHIND = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"

FRAMING = {
    "length and chunks": f"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{BEHIND}",
    "chunks and length": f"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{BEHIND}",
    "two lengths": f"content-length: 0\r\ncontent-length: {len(BEHIND)}\r\n\r\n{BEHIND}",
    "a list of lengths": f"content-length: 0, {len(BEHIND)}\r\n\r\n{BEHIND}",
    "a signed length": f"content-length: +{len(BEHIND)}\r\n\r\n{BEHIND}",
    "a hexadecimal length": f"content-length: 0x{len(BEHIND):x}\r\n\r\n{BEHIND}",
    "a negative length": f"content-length: -1\r\n\r\n{BEHIND}",
    "an unknown coding": f"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{BEHIND}",
    "chunks not last": f"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{BEHIND}",
    "two codings": f"transfer-encoding: identity\r\ntransfer-encoding: chunked, cow\r\n\r\n0\r\n\r\n{BEHIND}",
    "a space before the colon": f"transfer-encoding : chunked\r\n\r\n0\r\n\r\n{BEHIND}",
    "a folded line": f"x: y\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n{BEHIND}",
    "a chunk size with rubbish": f"transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n{BEHIND}",
    "an endless chunk size": f"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n{BEHIND}",
    "a null in a value": f"x: a\0b\r\n\r\n{BEHIND}",
    "a bare line feed in a name": f"x\n: y\r\n\r\n{BEHIND}",
}


@pytest.mark.parametrize("trick", FRAMING)
async def test_a_request_that_could_be_two_is_none(leaks: Leaks, trick: str):
    """Whatever becomes of it, the server behind never sees a request that the gateway has not."""
    far = Echo("far")
    async with served(far, leaks) as there, gateway_world(to("far", there.url), leaks=leaks) as world:
        request = f"POST /outer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{FRAMING[trick]}"
        got = await world.at.raw(request.encode())
    assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 ")), got[:200]
    assert b'"slug":"malformed-http"' in got
    assert far.seen == []


async def test_bodies_are_framed_anew_and_end_where_they_end(leaks: Leaks):
    """A body that looks like a request is a body, also on a connection that is kept."""
    far = Echo("far")
    async with served(far, leaks) as there, gateway_world(to("far", there.url), leaks=leaks) as world:
        for _ in range(3):
            await world.client.post("/x", content=BEHIND.encode())
            await world.client.get("/y")
    assert [seen.target for seen in far.seen] == ["/x", "/y"] * 3
    assert {seen.body for seen in far.seen if seen.target == "/x"} == {BEHIND.encode()}


async def test_what_belongs_to_the_connection_stays_behind(leaks: Leaks):
    far = Echo("far")
    async with served(far, leaks) as there, gateway_world(to("far", there.url), leaks=leaks) as world:
        request = (
            b"GET /x HTTP/1.1\r\nhost: shop.example\r\nconnection: close, X-Mine, upgrade\r\n"
            b"x-mine: 1\r\nx-other: 2\r\n"
            b"keep-alive: timeout=5\r\nproxy-authorization: Basic x\r\nproxy-connection: keep-alive\r\nte: trailers\r\n"
            b"trailer: x\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nx_other: 3\r\n\r\n"
        )
        got = await world.at.raw(request)
    assert got.startswith(b"HTTP/1.1 200 ")
    (seen,) = far.seen
    names = [name for name, _ in seen.headers]
    gone = {"keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade", "http2-settings"}
    assert not gone & set(names)
    assert "x-mine" not in names
    assert "x_other" not in names, "some servers read an underscore as a hyphen"
    assert seen.values("x-other") == ["2"]
    assert len(names) == len(set(names))
    assert seen.values("x-forwarded-host") == ["shop.example"]
    assert seen.values("host") == [there.url.removeprefix("http://")]


@pytest.mark.parametrize(
    "name", ["Authorization", "Cookie", "X-Forwarded-For", "Content-Length", "Host", "X-Request-Id"]
)
async def test_connection_cannot_take_away_what_is_meant_for_everybody(leaks: Leaks, name: str):
    far = Echo("far")
    async with served(far, leaks) as there, gateway_world(to("far", there.url), leaks=leaks) as world:
        sent = {"Connection": f"close, {name}", "Authorization": "Bearer x", "Cookie": "a=1"}
        await world.client.post("/x", content=b"four", headers=sent)
    (seen,) = far.seen
    assert seen.values(name) != []
    assert seen.body == b"four"


async def test_the_answer_too_is_freed_of_what_belongs_to_its_connection(leaks: Leaks):
    async def say(scope, receive, send):
        headers = [(b"connection", b"x-secret, close"), (b"x-secret", b"1"), (b"keep-alive", b"x"), (b"x-own", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    far = Echo("far", answers={"/x": say})
    async with served(far, leaks) as there, gateway_world(to("far", there.url), leaks=leaks) as world:
        got = await world.client.get("/x")
    assert got.headers["x-own"] == "1"
    assert not {"x-secret", "keep-alive", "connection"} & set(got.headers)


SPOOFS = ["6.6.6.6", "6.6.6.6, 10.0.0.1", "127.0.0.1", "junk", ""]


@pytest.mark.parametrize("said", SPOOFS)
async def test_nobody_says_where_they_come_from(leaks: Leaks, said: str):
    far = Echo("far")
    async with served(far, leaks) as there, gateway_world(to("far", there.url), leaks=leaks) as world:
        sent = {
            "X-Forwarded-For": said,
            "X-Real-IP": said,
            "Forwarded": f"for={said}",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Port": "1",
            "X-Mirrored": "1",
        }
        await world.client.get("/x", headers=sent)
    (seen,) = far.seen
    assert seen.values("x-forwarded-for") == ["127.0.0.1"]
    assert seen.values("x-forwarded-proto") == ["http"]
    for name in ("x-real-ip", "forwarded", "x-forwarded-port", "x-mirrored"):
        assert seen.values(name) == []


@pytest.mark.parametrize(
    ("said", "way"),
    [
        ("6.6.6.6", "6.6.6.6, 127.0.0.1"),
        ("1.1.1.1, 6.6.6.6", "6.6.6.6, 127.0.0.1"),  # 1.1.1.1 is what 6.6.6.6 said
        ("6.6.6.6, 10.0.0.7", "6.6.6.6, 127.0.0.1"),  # by way of another proxy of ours
        ("junk", "127.0.0.1"),
        ("6.6.6.6, junk", "127.0.0.1"),
    ],
)
async def test_our_own_proxies_are_believed_as_far_as_they_know(leaks: Leaks, said: str, way: str):
    far = Echo("far")
    async with served(far, leaks) as there:
        settings = to("far", there.url)
        trusting = GatewaySettings(settings.routes, settings.upstreams, trusted_proxies=("127.0.0.0/8", "10.0.0.0/8"))
        async with gateway_world(trusting, leaks=leaks) as world:
            await world.client.get("/x", headers={"X-Forwarded-For": said, "X-Request-Priority": "analytics"})
    assert far.seen[0].values("x-forwarded-for") == [way]
    assert far.seen[0].values("x-request-priority") == ["analytics"]


PROTECTED = GatewaySettings(
    (
        Route("admin", "/admin/**", plugins=(Authentication(roles=("admin",)),)),
        Route("public", "/public/{name}"),
        Route("rest", "/v1/**"),
    )
)

AROUND = [
    "/public/../admin/x",
    "/public/./x",
    "/public/..",
    "/public/%2e%2e/admin/x",
    "/public/%2E./admin/x",
    "/public/..%2fadmin",
    "/public%2f..%2fadmin",
    "/public/a%2Fb",
    "/public/a%5cb",
    "/public\\..\\admin",
    "//admin/x",
    "/public//x",
    "/admin%00/x",
    "/public/%0d%0aX-Evil:1",
    "/public/%zz",
    "/public/%",
]


@pytest.mark.parametrize("path", AROUND)
async def test_a_path_with_two_meanings_is_refused(path: str):
    async with gateway_world(PROTECTED) as world:
        got = await world.at.raw(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        assert got.startswith(b"HTTP/1.1 400 "), got[:200]
        assert b'"slug":"ambiguous-path"' in got or b'"slug":"malformed-http"' in got
        assert world.local.seen == []


@pytest.mark.parametrize(
    "path", ["/admin", "/admin/x", "/%61dmin/x", "/adm%69n/%78", "/admin/", "/admin/x?y=/public/z"]
)
async def test_no_spelling_of_a_protected_path_goes_around_its_plugins(path: str):
    async with gateway_world(PROTECTED) as world:
        got = await world.at.raw(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        assert got.startswith(b"HTTP/1.1 401 "), got[:200]
        assert world.local.seen == []
        as_admin = await world.client.get(path.partition("?")[0], headers=world.headers(1, "admin"))
        assert as_admin.status_code == 200


@pytest.mark.parametrize("path", ["/Admin/x", "/administrator", "/public", "/public/a/b", "/", "/v2"])
async def test_what_fits_no_route_goes_nowhere(path: str):
    async with gateway_world(PROTECTED) as world:
        got = await world.client.get(path)
        assert (got.status_code, got.json()["slug"]) == (404, "route-not-found")
        assert world.local.seen == []


@pytest.mark.parametrize(
    "line",
    [
        "GET http://127.0.0.1:{port}/secret HTTP/1.1",
        "GET http://evil@127.0.0.1:{port}/secret HTTP/1.1",
        "CONNECT 127.0.0.1:{port} HTTP/1.1",
        "GET @127.0.0.1:{port}/secret HTTP/1.1",
        "GET /.@127.0.0.1:{port}/secret HTTP/1.1",
    ],
)
@pytest.mark.parametrize("host", ["x", "127.0.0.1:{port}"])
async def test_it_is_no_open_proxy(leaks: Leaks, line: str, host: str):
    """Where a request goes is what the settings say, never what the request says."""
    victim, far = Echo("victim"), Echo("far")
    async with (
        served(victim, leaks) as third,
        served(far, leaks) as there,
        gateway_world(to("far", there.url)) as world,
    ):
        head = f"{line}\r\nhost: {host}\r\nconnection: close\r\n\r\n".replace("{port}", str(third.port))
        await world.at.raw(head.encode())
    assert victim.seen == []
    assert all(seen.values("host") == [there.url.removeprefix("http://")] for seen in far.seen)


async def test_headers_that_decide_may_be_there_once():
    async with gateway_world(GatewaySettings((Route("a", "/{x}", methods=("GET",)),))) as world:
        for name in ("authorization", "idempotency-key", "x-request-id", "x-request-timeout-ms", "content-type"):
            got = await world.at.raw(
                f"GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{name}: 1\r\n{name}: 1\r\n\r\n".encode()
            )
            assert b'"slug":"repeated-header"' in got, name
        assert world.local.seen == []
