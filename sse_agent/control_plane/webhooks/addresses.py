"""Where a webhook may go: a public address, over https. Looked up once; the request goes to what was looked up.

A name that is looked up a second time could answer with another address than the one that was judged.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

LOOKED_UP_WITHIN_S = 10.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotThere(Exception):
    """No request goes there; the text says why."""


def check(url: str, *, allows_private: bool) -> None:
    """Whether such a URL may be registered at all. Raises NotThere."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise NotThere("this is no URL") from None
    if parts.scheme not in (("https", "http") if allows_private else ("https",)) or not parts.hostname or port == 0:
        raise NotThere("a webhook's URL begins with https:// and names a host")
    if parts.username is not None or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise NotThere("a webhook's URL has no user name, no fragment and only ASCII characters without spaces")


async def look_up(host: str, port: int, *, allows_private: bool) -> str:
    """An address of that host that a request may go to. Raises NotThere, OSError if the name is not known now."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LOOKED_UP_WITHIN_S):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return judge([str(entry[4][0]) for entry in found], allows_private=allows_private)


def judge(addresses: Sequence[str], *, allows_private: bool) -> str:
    """The first address, if all of them are public: a name that has both is meant to deceive. Raises NotThere."""
    if not addresses:
        raise NotThere("the name has no address")
    if not allows_private and not all(is_public(address) for address in addresses):
        raise NotThere("the name leads to a private address; allow that with WEBHOOK_PRIVATE_ADDRESSES")
    return addresses[0]


def is_public(text: str) -> bool:
    """Whether that address belongs to the internet, and to no network of our own."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast
