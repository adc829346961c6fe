"""No request goes to a network of our own, whatever the URL or the name says."""

import pytest

from sse_agent.control_plane.webhooks.addresses import NotThere, check, is_public, judge


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "2001:db8::1",
    ],
)
def test_addresses_of_our_own_networks_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are(address: str) -> None:
    assert is_public(address)


def test_a_name_that_has_a_private_address_too_is_refused_whichever_comes_first() -> None:
    for addresses in (["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"]):
        with pytest.raises(NotThere):
            judge(addresses, allows_private=False)
        assert judge(addresses, allows_private=True) == addresses[0]
    with pytest.raises(NotThere):
        judge([], allows_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://example.com",
        "https://",
        "https://user@example.com",
        "https://example.com:0",
        "https://example.com:99999",
        "https://exämple.com",
        "https://example.com/a b",
        "https://example.com/#a",
        "https://[::1",
    ],
)
def test_what_is_no_fit_url_cannot_be_registered(url: str) -> None:
    with pytest.raises(NotThere):
        check(url, allows_private=False)


def test_https_and_where_private_addresses_are_allowed_http_can() -> None:
    check("https://example.com/hooks?a=b", allows_private=False)
    check("http://127.0.0.1:8000/hooks", allows_private=True)
