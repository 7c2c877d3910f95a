"""The configuration: every key, and errors that name the file, the line and the key."""

from pathlib import Path

import pytest

from pam_tailscale import paths
from pam_tailscale.config import (
    AgentConfig,
    CheckBy,
    CheckConfig,
    Config,
    OidcConfig,
    Period,
    Source,
    StoreConfig,
    TailscaledConfig,
    WithoutAuthTime,
    parse,
)
from pam_tailscale.errors import ConfigError
from pam_tailscale.model import Mode


def test_nothing_is_the_defaults() -> None:
    """An empty file is a whole one."""
    assert parse("", "agent.toml") == Config()
    assert Config().agent.socket == paths.AGENT_SOCKET


def test_every_key() -> None:
    """Each in its section."""
    text = """
        mode = "observe"
        allow_root = false
        trust_operator = true
        sources = ["grants", "netmap", "file"]
        capability = "acme.example/cap/ssh"
        [agent]
        user = "u"
        keys_user = "k"
        admin_group = "g"
        socket = "/s"
        reader_socket = "/r"
        pin = "/p"
        threads = 64
        [tailscaled]
        socket = "/t"
        timeout = 9.5
        [check]
        by = "oidc"
        period = "90m"
        waiting = 64
        qr = true
        store = "/c"
        [oidc]
        issuer = "https://login.example.com/realm"
        client_id = "ssh"
        client_secret_file = "/secret"
        scopes = "openid email profile"
        prompt = ""
        domains = ["example.com", "example.org"]
        subjects = { "bob@" = "42" }
        algorithms = ["ES256"]
        without_auth_time = "trust issue time"
        ca_file = "/ca"
        timeout = 4
        [store]
        address = "redis.example.com:6380"
        tls = false
        ca_file = "/store-ca"
        username = "ssh"
        password_file = "/password"
        database = 3
        prefix = "x"
    """
    assert parse(text, "agent.toml") == Config(
        mode=Mode.OBSERVE,
        allow_root=False,
        trust_operator=True,
        sources=(Source.GRANTS, Source.NETMAP, Source.FILE),
        capability="acme.example/cap/ssh",
        agent=AgentConfig("u", "k", "g", Path("/s"), Path("/r"), Path("/p"), 64),
        tailscaled=TailscaledConfig(Path("/t"), 9.5),
        check=CheckConfig(CheckBy.OIDC, Period(5400), 64, qr=True, store=Path("/c")),
        oidc=OidcConfig(
            issuer="https://login.example.com/realm",
            client_id="ssh",
            client_secret_file=Path("/secret"),
            scopes="openid email profile",
            prompt="",
            domains=("example.com", "example.org"),
            subjects={"bob@": "42"},
            algorithms=("ES256",),
            without_auth_time=WithoutAuthTime.TRUST_ISSUE_TIME,
            ca_file=Path("/ca"),
            timeout=4.0,
        ),
        store=StoreConfig(
            "redis.example.com:6380",
            tls=False,
            ca_file=Path("/store-ca"),
            username="ssh",
            password_file=Path("/password"),
            database=3,
            prefix="x",
        ),
    )


def test_a_whole_number_is_a_number() -> None:
    """Seconds need no point."""
    assert parse("[tailscaled]\ntimeout = 2", "agent.toml").tailscaled.timeout == 2.0


def test_dotted_keys_and_inline_tables_are_sections() -> None:
    """TOML's other ways to write the same."""
    assert parse("agent.threads = 3", "agent.toml").agent.threads == 3
    assert parse("agent = {threads = 3}", "agent.toml").agent.threads == 3


PERIODS = {"1m": 60, "60s": 60, "12h": 43200, "7d": 604800, "168h": 604800, "always": 0}


@pytest.mark.parametrize(("text", "seconds"), PERIODS.items())
def test_periods(text: str, seconds: int) -> None:
    """As a tailnet's policy writes them."""
    assert parse(f'[check]\nperiod = "{text}"', "agent.toml").check.period == float(seconds)


OIDC = """\
[check]
by = "oidc"
[oidc]
issuer = "https://login.example.com"
client_id = "ssh"
domains = ["example.com"]
"""


def test_the_least_that_an_identity_provider_needs() -> None:
    """Where it is, who we are there, for whom it may speak."""
    config = parse(OIDC, "agent.toml")
    assert (config.check.by, config.oidc.prompt) == (CheckBy.OIDC, "login")
    assert config.oidc.without_auth_time is WithoutAuthTime.REFUSE


def changed(key: str, value: str) -> str:
    """OIDC with another value for a key, on line 4, 5 or 6; or with a line more."""
    lines = [f"{key} = {value}" if line.startswith(f"{key} ") else line for line in OIDC.splitlines()]
    return "\n".join(lines if f"{key} = {value}" in lines else [*lines, f"{key} = {value}"])


def store(address: str) -> str:
    """OIDC with a shared store, whose address is on line 8."""
    return f'{OIDC}[store]\naddress = "{address}"'


@pytest.mark.parametrize("address", ["redis.example.com:6379", "192.0.2.1:1", "[2001:db8::1]:6379", "/run/redis.sock"])
def test_where_a_shared_store_may_be(address: str) -> None:
    """At a port or a socket."""
    assert parse(store(address), "agent.toml").store.address == address


WRONG: dict[str, tuple[str, int, str]] = {
    "a period without a unit": ("[check]\nperiod = '12'", 2, 'check.period must be "always", or a number with'),
    "a period as a number": ("[check]\nperiod = 12", 2, 'check.period must be "always", or a number with'),
    "a period that is too short": ("[check]\nperiod = '59s'", 2, "from one minute"),
    "a period that is too long": ("[check]\nperiod = '169h'", 2, "to a week"),
    "no period": ("[check]\nperiod = '0s'", 2, 'check.period must be "always", or a number with'),
    "a period of other digits": ("[check]\nperiod = '\u0661h'", 2, "check.period must be"),
    "nobody to ask": ("[check]\nby = 'both'", 2, "check.by must be one of control, oidc"),
    "nobody may wait": ("[check]\nwaiting = 0", 2, "check.waiting must be from 1 to 64"),
    "all may wait": ("[check]\nwaiting = 65", 2, "check.waiting must be from 1 to 64"),
    "oidc without anything": ("[check]\nby = 'oidc'", 1, "oidc.issuer must be the provider's https:// address"),
    "an issuer by http": (changed("issuer", "'http://a.example'"), 4, "oidc.issuer must be the provider's https://"),
    "an issuer with a query": (changed("issuer", "'https://a.example/?a'"), 4, "must be the provider's https://"),
    "an issuer with a user": (changed("issuer", "'https://u@a.example'"), 4, "must be the provider's https://"),
    "an issuer without a host": (changed("issuer", "'https:///a'"), 4, "must be the provider's https://"),
    "an issuer that is no address": (changed("issuer", "'https://[a'"), 4, "oidc.issuer is no address"),
    "an issuer of many tenants": (
        changed("issuer", "'https://login.microsoftonline.com/common/v2.0'"),
        4,
        "oidc.issuer stands for every organisation: name the tenant of yours",
    ),
    "no client": (changed("client_id", "''"), 5, "oidc.client_id is missing"),
    "nobody to vouch for": (changed("domains", "[]"), 6, "oidc.domains is missing"),
    "a domain in capitals": (changed("domains", "['Example.com']"), 6, "no domain in lower case"),
    "an address as domain": (changed("domains", "['a@example.com']"), 6, "no domain in lower case"),
    "a domain that is none": (changed("domains", "['']"), 6, "no domain in lower case"),
    "a domain beyond ASCII": (changed("domains", "['ex\u00e4mple.com']"), 6, "no domain in lower case"),
    "domains as text": (changed("domains", "'example.com'"), 6, "oidc.domains must be a list of texts"),
    "domains as numbers": (changed("domains", "[1]"), 6, "oidc.domains must be a list of texts"),
    "subjects as text": (changed("subjects", "'a'"), 7, "oidc.subjects must be a section of texts"),
    "subjects as numbers": (changed("subjects", "{ a = 1 }"), 7, "oidc.subjects must be a section of texts"),
    "no signature": (changed("algorithms", "['RS256', 'none']"), 7, "oidc.algorithms must be of ES256"),
    "a shared secret as signature": (changed("algorithms", "['HS256']"), 7, "oidc.algorithms must be of ES256"),
    "no algorithm": (changed("algorithms", "[]"), 7, "oidc.algorithms must be of ES256"),
    "no openid": (changed("scopes", "'email'"), 7, "oidc.scopes must have openid among them"),
    "too long for a login": (changed("timeout", "4.1"), 7, "oidc.timeout must be more than 0 and at most 4 seconds"),
    "half a word for a lax provider": (
        changed("without_auth_time", "'trust'"),
        7,
        "oidc.without_auth_time must be one of refuse, trust issue time",
    ),
    "a relative secret": (changed("client_secret_file", "'secret'"), 7, "must be an absolute path in quotes"),
    "a store for the control plane": ("[store]\naddress = 'a:1'", 2, "store.address is of use only where"),
    "a store without a port": (store("redis.example.com"), 8, "store.address must be HOST:PORT"),
    "a store as URL": (store("redis://a:1"), 8, "store.address must be HOST:PORT"),
    "a store at a bare v6 address": (store("2001:db8::1:6379"), 8, "store.address must be HOST:PORT"),
    "unknown key": (
        "allow_rot = true",
        1,
        "allow_rot is unknown here; known: agent, allow_root, capability, check, mode, ",
    ),
    "unknown section": ("\n[agents]\nuser = 'x'", 2, "agents is unknown here"),
    "unknown key of a section": ("mode = 'enforce'\n\n[agent]\n# no\nusr = 'x'", 5, "agent.usr is unknown here"),
    "a key in the wrong section": (
        "[tailscaled]\nthreads = 1\n[agent]\nthreads = 1",
        2,
        "tailscaled.threads is unknown",
    ),
    "mode": ("mode = 'off'", 1, "mode must be one of enforce, observe"),
    "mode of another type": ("mode = ['enforce']", 1, "mode must be one of"),
    "flag in quotes": ("allow_root = 'false'", 1, "allow_root must be true or false"),
    "flag as number": ("allow_root = 0", 1, "allow_root must be true or false"),
    "text as number": ("[agent]\nuser = 5", 2, "agent.user must be text in quotes"),
    "relative path": ("[agent]\nsocket = 'agent.sock'", 2, "agent.socket must be an absolute path in quotes"),
    "path as number": ("[agent]\npin = 1", 2, "agent.pin must be an absolute path in quotes"),
    "threads as text": ("[agent]\nthreads = '8'", 2, "agent.threads must be a whole number"),
    "threads as flag": ("[agent]\nthreads = true", 2, "agent.threads must be a whole number"),
    "threads with a point": ("[agent]\nthreads = 8.0", 2, "agent.threads must be a whole number"),
    "no threads": ("[agent]\nthreads = 0", 2, "agent.threads must be from 1 to 64"),
    "too many threads": ("[agent]\nthreads = 65", 2, "agent.threads must be from 1 to 64"),
    "timeout as flag": ("[tailscaled]\ntimeout = true", 2, "tailscaled.timeout must be a number"),
    "no timeout": ("[tailscaled]\ntimeout = 0", 2, "tailscaled.timeout must be more than 0"),
    "timeout as long as a login": ("[tailscaled]\ntimeout = 10.0", 2, "less than 10 seconds"),
    "timeout without end": ("[tailscaled]\ntimeout = inf", 2, "less than 10 seconds"),
    "timeout that is no number": ("[tailscaled]\ntimeout = nan", 2, "less than 10 seconds"),
    "section as value": ("\nagent = 1", 2, "agent must be a section"),
    "quoted key": ('"allow_root" = 1', 1, "allow_root must be true or false"),
    "quoted section": ('\n["agent"]\nuser = 1', 3, "agent.user must be text"),
    "section with a comment": ("[agent] # ours\nuser = 1", 2, "agent.user must be text"),
    "bound of a dotted key": ("agent.threads = 65", 1, "agent.threads must be from 1 to 64"),
}


@pytest.mark.parametrize(("text", "line", "message"), WRONG.values(), ids=WRONG.keys())
def test_mistakes_name_their_line(text: str, line: int, message: str) -> None:
    """File, line, key, and what it must be."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "/etc/agent.toml")
    assert str(caught.value).startswith(f"/etc/agent.toml: line {line}: ")
    assert message in str(caught.value)


DAMAGED = {
    "half a line": "mode = ",
    "no TOML": "{not toml}",
    "a key twice": "mode = 'enforce'\nmode = 'observe'",
    "a section twice": "[agent]\n[agent]",
    "no end of quotes": "mode = 'enforce",
    "control character": "mode = 'a\0b'",
    "nested without end": "mode = " + "[" * 5000,
    "a number without end": "mode = 1" + "0" * 5000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_an_error_with_its_name(text: str) -> None:
    """Never a traceback: a reload with it keeps the configuration before."""
    with pytest.raises(ConfigError, match=r"^/etc/agent\.toml: "):
        parse(text, "/etc/agent.toml")


def test_a_path_with_a_nul_is_an_error() -> None:
    """The kernel has no such path."""
    with pytest.raises(ConfigError, match=r"line 2: agent\.socket must be an absolute path"):
        parse('[agent]\nsocket = "/a\\u0000b"', "x")


def test_a_key_with_a_dot_in_quotes() -> None:
    """Line numbers are found by looking, which must not itself fail."""
    with pytest.raises(ConfigError, match=r"a\.b is unknown"):
        parse('"a.b" = 1', "x")


SOURCES = {
    "none": ("sources = []", "line 1: sources is empty"),
    "unknown": ('sources = ["netmap", "files"]', "line 1: sources must be one of netmap, grants, file"),
    "twice": ('sources = ["netmap", "netmap"]', "line 1: sources names one twice"),
    "no list": ('sources = "netmap"', "line 1: sources must be a list of texts in quotes"),
    "numbers": ("sources = [1]", "line 1: sources must be a list of texts in quotes"),
    "no capability": ('sources = ["grants"]', 'line 1: sources has "grants": set capability'),
}


@pytest.mark.parametrize(("text", "message"), SOURCES.values(), ids=SOURCES.keys())
def test_sources_that_cannot_be(text: str, message: str) -> None:
    """Each with its line."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "agent.toml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "name", ["acme.example/cap/ssh", "a.b/c", "x-1.acme.example/ssh~2/_.x", "nottailscale.com/cap"]
)
def test_capabilities(name: str) -> None:
    """Of a domain and a path."""
    assert parse(f'sources = ["grants"]\ncapability = "{name}"', "agent.toml").capability == name


@pytest.mark.parametrize(
    "name",
    [
        "tailscale.com/cap/ssh",
        "x.tailscale.com/cap/ssh",
        "https://acme.example/cap/ssh",
        "acme.example",
        "acme.example/",
        "acme/cap",
        "/cap/ssh",
        "ACME.example/cap",
        "acme.example./cap",
        "-acme.example/cap",
        "acme..example/cap",
        "acme.example/cap ssh",
        "acme.example/cap\u00e4",
        " acme.example/cap",
    ],
)
def test_no_capabilities(name: str) -> None:
    """Above all none of Tailscale's own, which mean something else."""
    with pytest.raises(ConfigError, match=r"^agent\.toml: line 2: capability "):
        parse(f'allow_root = true\ncapability = "{name}"', "agent.toml")
