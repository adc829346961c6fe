"""Which proxy a request takes. Pure.

requests' own `should_bypass_proxies` sets a variable of the process's environment for a moment, which threads
would see of one another, and then asks the environment: its answer is not what the mapping says.
"""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def proxy_for(url: str, proxies: Mapping[str, str]) -> str | None:
    """The proxy's URL, or None for a direct connection.

    `proxies` maps `http`, `https` and `all` to URLs, and `no_proxy` (or `no`) to the list of exceptions: host names
    with all beneath them, addresses, networks (10.0.0.0/8), each with a port or without, or `*`.
    """
    parts = urlsplit(url)
    exceptions = re.split(r"[,\s]+", proxies.get("no_proxy") or proxies.get("no") or "")
    if any(_is_meant(entry, parts.hostname or "", parts.port) for entry in exceptions if entry):
        return None
    return proxies.get(parts.scheme) or proxies.get("all") or None


def _is_meant(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if address is not None and "/" in entry:
        return _is_within(address, entry)
    name, wanted_port = _split(entry.lower())
    if wanted_port is not None and wanted_port != port:
        return False
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*").strip(".")
    host = host.lower().rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, int | None]:
    """Name and port. An IPv6 address needs brackets to have a port."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d{1,5}))?", entry)
    plain = bracketed or re.fullmatch(r"([^:]*)(?::(\d{1,5}))?", entry)
    if plain is None:
        return entry, None
    return plain[1], int(plain[2]) if plain[2] else None


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_within(address: _Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
