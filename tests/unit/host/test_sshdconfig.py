"""sshd_config as sshd reads it; tests/integration/test_sshdconfig.py holds the same against sshd itself."""

import fnmatch
import ipaddress
from collections.abc import Mapping, Sequence

import pytest

from pam_tailscale.host.sshdconfig import (
    COMMAND_LINE,
    MAIN,
    Connections,
    Fit,
    Reader,
    SshdConfig,
    fits,
    is_global,
    split,
    who_set,
)

DROP_IN = "/etc/ssh/sshd_config.d/10-pam-tailscale.conf"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"
TAILNET = Connections()


def read(main: str, others: Mapping[str, str] | None = None, options: Sequence[str] = ()) -> SshdConfig:
    """A configuration whose files are in a mapping: `05-local.conf` stands for the one in sshd_config.d."""
    files = {MAIN: main}
    for name, text in (others or {}).items():
        files[name if name.startswith("/") else f"/etc/ssh/sshd_config.d/{name}"] = text
    return Reader(files.get, lambda pattern: [path for path in files if fnmatch.fnmatch(path, pattern)], DROP_IN).read(
        options=options
    )


def values(config: SshdConfig, keyword: str, connections: Connections = TAILNET) -> list[str]:
    """What may be in force, the strongest first."""
    return [" ".join(setting.arguments) for setting in who_set(config, keyword, connections)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("UsePAM yes", ("usepam", ("yes",))),
        ("  usepam\tYES  ", ("usepam", ("YES",))),
        ("UsePAM=yes", ("usepam", ("yes",))),
        ("UsePAM = yes", ("usepam", ("yes",))),
        ('"UsePAM" yes', ("usepam", ("yes",))),
        ("UsePAM yes # no", ("usepam", ("yes",))),
        ('Banner "/etc/a banner"', ("banner", ("/etc/a banner",))),
        ("Banner '/etc/a banner'", ("banner", ("/etc/a banner",))),
        (r"Banner /etc/a\ banner", ("banner", ("/etc/a banner",))),
        ("ForceCommand echo a=b", ("forcecommand", ("echo", "a=b"))),
        ("UsePAM yes\f", ("usepam", ("yes",))),
        ("ChallengeResponseAuthentication no", ("kbdinteractiveauthentication", ("no",))),
    ],
)
def test_a_line(line: str, expected: tuple[str, tuple[str, ...]]) -> None:
    """A keyword in any case, `=` or blanks, quotes, escapes, comments, and old names of keywords."""
    (setting,) = read(line).settings
    assert (setting.keyword, setting.arguments) == expected


@pytest.mark.parametrize("line", ["", "   ", "# UsePAM no", "  #UsePAM no", "\t"])
def test_no_line(line: str) -> None:
    """Comments and blanks say nothing."""
    assert read(line) == SshdConfig()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r'"a \" b" c', ('a " b', "c")),
        (r"'a \' b'", ("a ' b",)),
        (r'"a\ b"', (r"a\ b",)),
        (r"a\\b", (r"a\b",)),
        (r"a\nb", (r"a\nb",)),
        ('a"b c"d', ("ab cd",)),
        ("a#b", ("a#b",)),
        ("a #b", ("a",)),
        ('""', ("",)),
        ("a\\", ("a\\",)),
    ],
)
def test_quotes_and_escapes(text: str, words: tuple[str, ...]) -> None:
    """As misc.c's argv_split."""
    assert split(text) == words


def test_open_quotes_are_a_problem_and_not_a_setting() -> None:
    """The whole file is refused; nothing is guessed of the line."""
    config = read('Banner "/etc/issue\nUsePAM yes\n')
    assert [setting.keyword for setting in config.settings] == ["usepam"]
    assert config.problems == (f"{MAIN}:1: invalid quotes",)


def test_a_setting_knows_its_place() -> None:
    """File and line, for whoever has to change it."""
    config = read(f"\n{INCLUDE}PermitRootLogin no\n", {"05-a.conf": "# first\nPermitRootLogin yes\n"})
    assert [str(setting) for setting in config.settings] == [
        "permitrootlogin yes (/etc/ssh/sshd_config.d/05-a.conf:2)",
        f"permitrootlogin no ({MAIN}:3)",
    ]


def test_included_files_come_in_the_order_of_their_bytes() -> None:
    """As glob(3) sorts them: capitals before small letters."""
    files = {"b.conf": "Banner b", "B.conf": "Banner B", "10-a.conf": "Banner 10", "5-a.conf": "Banner 5"}
    assert [setting.arguments[0] for setting in read(INCLUDE, files).settings] == ["10", "5", "B", "b"]


def test_includes_are_relative_to_etc_ssh_and_nest() -> None:
    """Also where the including file lies elsewhere."""
    files = {"/etc/ssh/more": "Include other\nPort 1", "/etc/ssh/other": "Port 2"}
    assert [setting.arguments[0] for setting in read("Include more\nPort 3", files).settings] == ["2", "1", "3"]


def test_an_include_takes_several_patterns() -> None:
    """In their order."""
    files = {"/etc/ssh/x": "Port 1", "/etc/ssh/y": "Port 2"}
    assert [setting.arguments[0] for setting in read("Include y x", files).settings] == ["2", "1"]


def test_a_file_that_includes_itself_ends() -> None:
    """At the sixteenth level, where sshd refuses it."""
    assert "too deeply" in " ".join(read(f"Include {MAIN}").problems)


def test_a_file_that_cannot_be_read_is_a_problem() -> None:
    """It is never taken for an empty one."""
    config = Reader({MAIN: "Include /etc/ssh/gone"}.get, lambda pattern: [pattern], DROP_IN).read()
    assert config.problems == ("/etc/ssh/gone: cannot be read",)


# Where the drop-in is read


def test_the_place_of_the_drop_in() -> None:
    """By its name between the others, whether it is there or not; what is in it does not count."""
    files = {"05-a.conf": "Banner a", "50-b.conf": "Banner b"}
    for present in ({}, {"10-pam-tailscale.conf": "UsePAM no"}):
        config = read(f"Port 22\n{INCLUDE}Port 23", {**files, **present})
        assert config.drop_in is not None
        assert [setting.arguments[0] for setting in config.before_drop_in()] == ["22", "a"]
        assert [setting.arguments[0] for setting in config.settings] == ["22", "a", "b", "23"]


@pytest.mark.parametrize(
    "main",
    ["Port 22", "#" + INCLUDE, "Include /etc/ssh/*.conf", "Include sshd_config.d/*.con", "Include /etc/*/*/[!1]*.conf"],
)
def test_no_include_takes_it(main: str) -> None:
    """Then everything there is comes before it, because it is never read."""
    config = read(main)
    assert config.drop_in is None
    assert config.before_drop_in() == config.settings


@pytest.mark.parametrize(
    "main", ["Include sshd_config.d/*", "include /etc/ssh/sshd_config.d/1?-*.conf", "Include " + DROP_IN]
)
def test_an_include_of_another_form_takes_it_too(main: str) -> None:
    """Installers that look for the one usual line are wrong here."""
    assert read(main).drop_in is not None


def test_the_first_include_counts() -> None:
    """Its later reading changes nothing: the first value wins."""
    config = read(f"{INCLUDE}Port 22\nInclude {DROP_IN}\n")
    assert config.drop_in is not None
    assert config.drop_in.index == 0


def test_an_include_in_a_match_is_seen() -> None:
    """The Match goes on until the next one or the end of the file, blank lines or not."""
    config = read(f"Match User alice\n\n{INCLUDE}")
    assert config.drop_in is not None
    assert [str(match) for match in config.drop_in.inside] == [f"Match user alice ({MAIN}:1)"]


def test_a_match_ends_with_its_file() -> None:
    """A Match in an included file does not leak into the next one, nor into the one that included it."""
    config = read(f"{INCLUDE}Banner main", {"05-a.conf": "Match all\nMatch User a\nBanner a", "06-b.conf": "Banner b"})
    assert [(setting.arguments[0], is_global(setting)) for setting in config.settings] == [
        ("a", False),
        ("b", True),
        ("main", True),
    ]


def test_a_match_of_an_included_file_holds_within_that_of_its_include() -> None:
    """Both have to."""
    config = read(f"Match Address 192.0.2.0/24\n{INCLUDE}", {"50-a.conf": "Match User alice\nBanner a\n"})
    assert fits(config.settings[0].inside, TAILNET) is Fit.NEVER


def test_options_come_before_all_files() -> None:
    """As sshd takes them."""
    config = read("UsePAM yes", options=["UsePAM=no", "LogLevel VERBOSE"])
    assert values(config, "UsePAM") == ["no"]
    assert config.settings[0].place.path == COMMAND_LINE
    assert str(config.settings[1]) == "loglevel VERBOSE (the command line of sshd)"


# What is in force for whom


def test_the_first_value_wins() -> None:
    """Among what stands outside all Match blocks."""
    assert values(read("Banner a\nBanner b"), "Banner") == ["a"]
    assert values(read("Port 22"), "Banner") == []


def test_a_match_wins_over_everything_outside() -> None:
    """Wherever it stands; among those that always hold the first counts alone."""
    assert values(read("Banner a\nMatch Address 100.64.0.0/10,fd7a:115c:a1e0::/48\nBanner b"), "banner") == ["b"]
    assert values(read("Match all\nBanner a\nMatch all\nBanner b"), "banner") == ["a"]


def test_what_may_hold_is_told_together_with_what_holds_otherwise() -> None:
    """Groups are not looked up: both values are possible."""
    assert values(read("Banner a\nMatch Group admins\nBanner b"), "banner") == ["b", "a"]


def test_a_match_for_others_does_not_count() -> None:
    """The LAN's settings are no business of the tailnet's."""
    assert values(read("Banner a\nMatch Address 192.0.2.0/24\nBanner b"), "banner") == ["a"]


@pytest.mark.parametrize(
    ("criteria", "fit"),
    [
        ("all", Fit.ALWAYS),
        ("Address *", Fit.ALWAYS),
        ("Address 0.0.0.0/0,::/0", Fit.ALWAYS),
        ("Address=100.64.0.0/10,fd7a:115c:a1e0::/48", Fit.ALWAYS),
        ("Address *,!100.64.0.0/10,!fd7a:115c:a1e0::/48", Fit.NEVER),
        ("Address *,!100.64.0.0/10", Fit.MAYBE),
        ("Address *,!100.64.0.7", Fit.MAYBE),
        ("Address 100.64.0.0/10", Fit.MAYBE),
        ("Address 100.0.0.0/8,fd00::/8", Fit.ALWAYS),
        ("Address 100.64.0.7", Fit.MAYBE),
        ("Address 192.0.2.0/24", Fit.NEVER),
        ("Address 192.168.*", Fit.NEVER),
        ("Address 192.*,10.*", Fit.NEVER),
        ("Address 100.*", Fit.MAYBE),
        ("Address 10?.64.0.1", Fit.MAYBE),
        ("LocalAddress 192.0.2.1", Fit.NEVER),
        ("localaddress 100.64.0.1", Fit.MAYBE),
        ("LocalPort 22", Fit.ALWAYS),
        ("LocalPort 2222", Fit.NEVER),
        ("User alice", Fit.MAYBE),
        ("User *", Fit.ALWAYS),
        ("Group sudo", Fit.MAYBE),
        ("Host *.example.com", Fit.MAYBE),
        ("invalid-user", Fit.NEVER),
        ("invalid-user Address *", Fit.NEVER),
        ("Address * User alice", Fit.MAYBE),
        ("Address 192.0.2.0/24 User *", Fit.NEVER),
        ("Version OpenSSH_10*", Fit.MAYBE),
    ],
)
def test_for_how_many_tailnet_connections_a_match_holds(criteria: str, fit: Fit) -> None:
    """What depends on the person or the peer is MAYBE; only what never meets the tailnet's ranges is NEVER."""
    (setting,) = read(f"Match {criteria}\nBanner a").settings
    assert fits(setting.inside, TAILNET) is fit


@pytest.mark.parametrize(
    ("pattern", "fit"),
    [
        ("root", Fit.ALWAYS),
        ("alice", Fit.NEVER),
        ("r*", Fit.ALWAYS),
        ("*,!root", Fit.NEVER),
        ("!alice", Fit.NEVER),
        ("[r]oot", Fit.NEVER),
    ],
)
def test_a_user_that_is_asked_about(pattern: str, fit: Fit) -> None:
    """As match_pattern_list: something positive has to fit, and brackets are no wildcards."""
    (setting,) = read(f"Match User {pattern}\nBanner a").settings
    assert fits(setting.inside, Connections(user="root")) is fit


def test_several_ports_are_some_of_them() -> None:
    """A Match for one of two ports holds for some connections."""
    (setting,) = read("Match LocalPort 22\nBanner a").settings
    assert fits(setting.inside, Connections(ports=(22, 2222))) is Fit.MAYBE


def test_a_node_with_one_family_is_asked_about_that_alone() -> None:
    """Otherwise a setting for all its connections would look like one for some."""
    (setting,) = read("Match LocalAddress 100.64.0.0/10\nBanner a").settings
    four = (ipaddress.ip_network("100.64.0.1/32"),)
    assert fits(setting.inside, Connections(servers=four)) is Fit.ALWAYS
