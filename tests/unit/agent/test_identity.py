"""An identity provider and its stores, put together as the configuration says."""

from pathlib import Path

import pytest

from pam_tailscale.agent.identity import oidc_checking, place_of
from pam_tailscale.check.local import SqliteStore
from pam_tailscale.check.redis_socket import Place
from pam_tailscale.check.shared import RedisStore
from pam_tailscale.config import StoreConfig, parse
from tests.unit.test_config import OIDC, store


def test_without_a_shared_store_each_host_asks_on_its_own(tmp_path: Path) -> None:
    """By the issuer and the client that are configured."""
    with SqliteStore(tmp_path / "checks.db") as local:
        checking = oidc_checking(parse(OIDC, "agent.toml"), local)
        assert (checking.shared, checking.period, checking.provider.name) == (None, 43200.0, "oidc")
        assert checking.scope == "https://login.example.com\0ssh"


def test_with_one_it_is_asked_too(tmp_path: Path) -> None:
    """Nothing is connected before it is needed."""
    with SqliteStore(tmp_path / "checks.db") as local:
        shared = oidc_checking(parse(store("192.0.2.1:6379"), "agent.toml"), local).shared
        assert isinstance(shared, RedisStore)
        shared.close()


PLACES = {
    "a name": ("redis.example.com:6380", "redis.example.com", 6380, None),
    "an IPv6 address": ("[2001:db8::1]:6379", "2001:db8::1", 6379, None),
    "a socket": ("/run/redis.sock", "", 0, Path("/run/redis.sock")),
}


@pytest.mark.parametrize(("address", "host", "port", "path"), PLACES.values(), ids=PLACES.keys())
def test_where_it_is(address: str, host: str, port: int, path: Path | None) -> None:
    """With everything else of its section."""
    section = StoreConfig(address, ca_file=Path("/ca"), username="u", password_file=Path("/p"), database=2, prefix="x")
    assert place_of(section) == Place(
        host=host,
        port=port,
        path=path,
        database=2,
        tls=True,
        ca_file=Path("/ca"),
        username="u",
        password_file=Path("/p"),
    )
