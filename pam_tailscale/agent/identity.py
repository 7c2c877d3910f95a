"""Checks by an identity provider, put together as the configuration says. Imported only where it says so: 20 MiB."""

from pathlib import Path

from pam_tailscale.agent.checking import Checking
from pam_tailscale.check.device import DeviceClient
from pam_tailscale.check.jwks import PublishedKeys
from pam_tailscale.check.local import SqliteStore
from pam_tailscale.check.oidc import OidcProvider, scope_of
from pam_tailscale.check.redis_socket import Place
from pam_tailscale.check.shared import RedisStore
from pam_tailscale.config import Config, StoreConfig


def oidc_checking(settings: Config, local: SqliteStore) -> Checking:
    """The provider oidc with its stores."""
    client = DeviceClient(settings.oidc)
    scope = scope_of(settings.oidc)
    keys = PublishedKeys(fetch=client.published_keys, store=local, scope=scope)
    shared = RedisStore(place_of(settings.store), settings.store.prefix) if settings.store.address else None
    period = float(settings.check.period)
    provider = OidcProvider(settings=settings.oidc, client=client, keys=keys, local=local, shared=shared, period=period)
    return Checking(provider, local, shared, scope, period)


def place_of(store: StoreConfig) -> Place:
    """Where the shared store is, by its section of the configuration."""
    at_socket = store.address.startswith("/")
    host, _, port = store.address.rpartition(":")
    return Place(
        host="" if at_socket else host.strip("[]"),
        port=0 if at_socket else int(port),
        path=Path(store.address) if at_socket else None,
        database=store.database,
        tls=store.tls,
        ca_file=store.ca_file,
        username=store.username,
        password_file=store.password_file,
    )
