"""Why a configuration of the gateway is refused."""

from __future__ import annotations

from doorbuster.kernel.errors import Invalid


class GatewayInvalid(Invalid):
    """Routes, upstreams or plugins that do not fit together; `detail` says which. What was in force stays in force."""

    slug = "gateway-invalid"
    title = "The gateway cannot work like this"
