"""What an entry of src or dst names."""

import pytest

from pam_tailscale.policy.selectors import MEMBER, Kind, Selector, address_of, is_login, network_of, parse


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("*", Kind.ANY),
        ("alice@example.com", Kind.PERSON),
        ("alice@", Kind.PERSON),
        ("@", Kind.PERSON),
        ("*@example.com", Kind.PERSON),
        ("user:alice@example.com", Kind.PERSON),
        ("user:*@example.com", Kind.DOMAIN),
        ("user:*@", Kind.DOMAIN),
        ("group:ops", Kind.GROUP),
        ("group:ops@example.com", Kind.GROUP),
        ("tag:web", Kind.TAG),
        ("tag:", Kind.TAG),
        ("autogroup:self", Kind.AUTOGROUP),
        ("autogroup:nobody-knows", Kind.AUTOGROUP),
        ("100.64.0.1", Kind.ADDRESS),
        ("100.64.0.0/10", Kind.ADDRESS),
        ("100.64.0.1/10", Kind.ADDRESS),
        ("fd7a:115c:a1e0::1", Kind.ADDRESS),
        ("100.64.0.1:22", Kind.NAME),
        ("100.64.0.256", Kind.NAME),
        ("1", Kind.NAME),
        ("server", Kind.NAME),
        ("Group:ops", Kind.NAME),
        ("**", Kind.NAME),
        ("", Kind.NAME),
    ],
)
def test_kinds(text: str, kind: Kind) -> None:
    """By prefix, then by @, then by whether it is an address; the text stays as it is."""
    assert parse(text) == Selector(kind, text)


def test_spaces_around_it_are_no_part_of_it() -> None:
    """As with the control plane."""
    assert parse(" \talice@example.com\n") == Selector(Kind.PERSON, "alice@example.com")
    assert parse("group: a b ").text == "group: a b"


def test_the_older_spelling_is_the_newer() -> None:
    """So that nothing has to know both."""
    assert parse("autogroup:members") == parse("autogroup:member") == Selector(Kind.AUTOGROUP, MEMBER)


def test_the_domain_of_everybody_in_it() -> None:
    """What follows `user:*@`."""
    assert parse("user:*@Example.com").domain == "Example.com"
    assert parse("user:*@").domain == ""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("part", ["1", ":", "1.", "1/"])
def test_long_texts_are_names(part: str) -> None:
    """Soon."""
    assert parse(part * 2_500_000).kind is Kind.NAME


HOSTS = {"web": "100.64.0.5", "one": "fd7a::1/128", "net": "10.0.0.0/8", "odd": "x", "10.0.0.9": "10.0.0.8"}


@pytest.mark.parametrize(
    ("text", "network", "address"),
    [
        ("100.64.0.1", "100.64.0.1/32", "100.64.0.1"),
        ("fd7a::1", "fd7a::1/128", "fd7a::1"),
        ("100.64.0.1/10", "100.64.0.0/10", None),
        ("web", "100.64.0.5/32", "100.64.0.5"),
        ("one", "fd7a::1/128", "fd7a::1"),
        ("net", "10.0.0.0/8", None),
        ("10.0.0.9", "10.0.0.9/32", "10.0.0.9"),
        ("odd", None, None),
        ("nowhere", None, None),
        ("", None, None),
        ("tag:web", None, None),
        ("*", None, None),
    ],
)
def test_addresses(text: str, network: str | None, address: str | None) -> None:
    """Of an address, of a range, of a name of `hosts`."""
    found = network_of(parse(text), HOSTS), address_of(parse(text), HOSTS)
    assert [None if one is None else str(one) for one in found] == [network, address]


@pytest.mark.parametrize(
    ("member", "is_one"),
    [
        ("alice@example.com", True),
        ("alice@", True),
        (" alice ", True),
        ("user:*@example.com", False),
        ("*", False),
        ("*@example.com", False),
        ("group:ops", False),
        ("tag:ci", False),
        ("autogroup:admin", False),
        ("100.64.0.7", False),
    ],
)
def test_members_that_are_login_names(member: str, *, is_one: bool) -> None:
    """All others are sets, or no people at all."""
    assert is_login(member) is is_one
