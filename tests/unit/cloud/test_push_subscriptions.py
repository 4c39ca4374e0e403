"""Where a push may go: an address that a stranger names, asked by our host."""

import pytest

from cloud.notifications.subscriptions import are_public, is_endpoint, read_key

SERVICE = "https://push.example.org/v1/abc?d=e"


@pytest.mark.parametrize(
    ("url", "may"),
    [
        (SERVICE, True),
        ("https://push.example.org", True),
        ("https://push.example.org:443/x", True),
        ("https://push.example.org:8443/x", False),
        ("http://push.example.org/x", False),
        ("ftp://push.example.org/x", False),
        ("//push.example.org/x", False),
        ("https:///x", False),
        ("https://localhost/x", False),
        ("https://127.0.0.1/x", False),
        ("https://127.1/x", False),
        ("https://2130706433/x", False),
        ("https://0x7f.0.0.0x1/x", False),
        ("https://8.8.8.8/x", False),
        ("https://[::1]/x", False),
        ("https://[::ffff:127.0.0.1]/x", False),
        ("https://user@push.example.org/x", False),
        ("https://push.example.org@evil.example.org/x", False),
        ("https://push.example.org:port/x", False),
        ("https://push.example.org:99999/x", False),
        ("https://push.example.org\\@evil.example.org/x", False),
        ("https://push.example.org/a b", False),
        ("https://push.example.org/a\r\nX: y", False),
        ("https://push.example.org/x#part", False),
        ("https://pusḥ.example.org/x", False),
        ("https://[::1/x", False),
        ("", False),
    ],
)
def test_only_a_named_host_on_the_port_of_https_is_an_endpoint(url: str, may: bool) -> None:
    assert is_endpoint(url, allow_private=False) is may


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "https://localhost/x", SERVICE])
def test_trials_may_push_to_this_machine(url: str) -> None:
    assert is_endpoint(url, allow_private=True)
    assert not is_endpoint(f"{url}\n", allow_private=True)


@pytest.mark.parametrize(
    ("addresses", "are"),
    [
        (["93.184.216.34"], True),
        (["2606:2800:220:1:248:1893:25c8:1946"], True),
        (["93.184.216.34", "10.0.0.1"], False),
        ([], False),
        *(
            ([address], False)
            for address in (
                *("0.0.0.0", "10.1.2.3", "127.0.0.1", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1"),
                *("192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
                *("::", "::1", "fc00::1", "fe80::1", "ff02::1", "2001:db8::1", "::ffff:10.0.0.1", "2002:7f00:1::"),
            )
        ),
    ],
)
def test_all_that_a_name_stands_for_must_be_public(addresses: list[str], are: bool) -> None:
    assert are_public(addresses) is are


def test_keys_are_read_with_and_without_padding_and_only_whole() -> None:
    assert read_key("AAECAw", size=4) == read_key("AAECAw==", size=4) == bytes(range(4))
    assert read_key("-_-_", size=3) == b"\xfb\xff\xbf"
    for text in ("AAEC", "AAECAwQ", "AAE", "A", "AAE!Aw", "äAECAw", ""):
        assert read_key(text, size=4) is None, text
