"""The proxy for https in the environment or the system's settings.

Only proxies that accept plain HTTP are supported; TLS to the server passes through them by
CONNECT. Others are refused before a byte is sent, because urllib would speak plain HTTP to them
and reveal the password to the network.
"""

from __future__ import annotations

import os
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


class UnspokenProxyError(ValueError):
    """A proxy that is configured but not supported."""


@dataclass(frozen=True)
class Proxy:
    """http://[USER:PASSWORD@]HOST[:PORT], and the setting that names it."""

    url: str
    setting: str

    def __str__(self) -> str:
        return f"{masked(self.url)} ({self.setting})"


def masked(url: str) -> str:
    """A URL with user and password hidden."""
    scheme, _, rest = url.rpartition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{'***' if user else ''}{at}{host}"


def proxy_for(url: str) -> Proxy | None:
    """The proxy for an https URL; None if NO_PROXY excludes it or there is no proxy.

    Raises UnspokenProxyError.
    """
    named = urllib.request.getproxies()
    value = named.get("https") or named.get("all")
    if not value or urllib.request.proxy_bypass(urlsplit(url).netloc):
        return None
    setting = next((v for v in VARIABLES if os.environ.get(v) == value), "the system's settings")
    proxy = Proxy(value if "://" in value else f"http://{value}", setting)
    try:
        parts = urlsplit(proxy.url)
        usable = bool(parts.hostname) and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise UnspokenProxyError(f"the proxy {proxy} is not of the form http://HOST:PORT")
    if parts.scheme.lower() != "http":
        raise UnspokenProxyError(
            f"the proxy {proxy} is not used: only http:// proxies are supported, not {parts.scheme}://;"
            " name such a proxy, or put this host into NO_PROXY"
        )
    return proxy
