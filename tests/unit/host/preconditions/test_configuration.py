"""Preconditions about sshd_config, beyond the one case for each row that test_table.py has."""

import dataclasses

import pytest

from pam_tailscale.config import CheckConfig, Config
from pam_tailscale.host.answers import Answers, Methods
from pam_tailscale.host.facts import Facts
from pam_tailscale.host.preconditions import Action, judge
from tests.support.host_facts import (
    BOOKWORM,
    STOCK,
    config,
    healthy,
    with_config,
    with_effective,
    with_sshd,
)

NEW, OLD = healthy(), healthy(BOOKWORM)


def rows(facts: Facts, answers: Answers | None = None) -> dict[str, Action]:
    """The rows that apply."""
    return {finding.row: finding.action for finding in judge(facts, answers or Answers())}


def said(facts: Facts, row: str) -> str:
    """What a row has seen; empty where it does not apply."""
    return next((finding.what for finding in judge(facts, Answers()) if finding.row == row), "")


# What wins over our drop-in


@pytest.mark.parametrize(
    "text",
    [
        "Match User alice\nPasswordAuthentication no",
        "Match Group admins\nPermitRootLogin no",
        "Match Address 100.64.0.7\nAuthorizedKeysFile .ssh/authorized_keys",
        "Match all\nMaxAuthTries 3",
        "Match LocalPort 22\nPermitEmptyPasswords no",
        "Match Host *.example.com\nKbdInteractiveAuthentication no",
        "Match Host *.example.com\nChallengeResponseAuthentication no",
        "Match User *\nAuthorizedKeysCommand /usr/bin/true\nAuthorizedKeysCommandUser nobody",
        "PerSourcePenaltyExemptList 192.0.2.0/24",
        "Match all\nPerSourcePenaltyExemptList 192.0.2.0/24",
    ],
)
def test_what_is_read_before_ours_and_wins(text: str) -> None:
    """For however few connections of the tailnet."""
    assert rows(with_config(NEW, f05=text)).get("earlier_setting") is Action.REFUSE


@pytest.mark.parametrize(
    "text",
    [
        "PasswordAuthentication no",  # outside of Match blocks: ours is stronger
        "PermitRootLogin no\nKbdInteractiveAuthentication no",
        "Match Address 192.0.2.0/24\nPasswordAuthentication no",  # not about the tailnet
        "Match LocalPort 2222\nPasswordAuthentication no",  # sshd does not listen there
        "Match User alice\nPasswordAuthentication yes",  # the same as ours
        "Match User alice\nX11Forwarding no",  # not ours
        "Match Address *,!100.64.0.0/10,!fd7a:115c:a1e0::/48\nPasswordAuthentication no",
        "Match User alice",
        "UsePAM yes",
    ],
)
def test_what_is_read_before_ours_and_does_not_win(text: str) -> None:
    """It is nobody's business."""
    assert "earlier_setting" not in rows(with_config(NEW, f05=text))


def test_what_comes_after_ours_does_not_win() -> None:
    """A Match in sshd_config itself, or in a file with a higher number."""
    text = "Match User alice\nPasswordAuthentication no\n"
    assert rows(with_config(NEW, STOCK + text)) == {}
    assert rows(with_config(NEW, f50=text)) == {}


def test_an_include_below_a_match_is_told_with_what_wins() -> None:
    """Both have to be mended, so both are told at once."""
    facts = with_config(NEW, f"Match User alice\nPasswordAuthentication no\nMatch all\n{STOCK}")
    assert rows(facts) == {"earlier_setting": Action.REFUSE}
    facts = with_config(NEW, f"Match User alice\nPasswordAuthentication no\n{STOCK}")
    assert set(rows(facts)) >= {"earlier_setting", "include_in_match"}


def test_a_list_of_methods_before_ours_cannot_be_answered_away() -> None:
    """An answer would put AuthenticationMethods into our drop-in, and the earlier one would win over it."""
    facts = with_config(NEW, f05="Match User alice\nAuthenticationMethods publickey,password\n")
    assert rows(facts, Answers(methods=Methods.REPLACE))["earlier_setting"] is Action.REFUSE


def test_penalties_are_no_keyword_of_ours_before_98() -> None:
    """There sshd does not know it, and complains itself."""
    assert "earlier_setting" not in rows(with_config(OLD, f05="PerSourcePenaltyExemptList 192.0.2.0/24"))


@pytest.mark.parametrize("option", ["LogLevel=VERBOSE", "Port=2222", "PermitRootLogin=no", "UsePAM=yes"])
def test_options_that_do_not_win(option: str) -> None:
    """Given with -o they stand outside all Match blocks; and what is not ours does not matter."""
    assert "command_line" not in rows(with_sshd(NEW, config=config(options=(option,))))


def test_pam_that_an_option_switches_off() -> None:
    """It wins over sshd_config and over ours."""
    facts = with_sshd(NEW, config=config(options=("UsePAM=no",)))
    assert rows(facts) == {"no_pam": Action.REFUSE, "command_line": Action.REFUSE}


def test_pam_that_nothing_switches_on() -> None:
    """Debian's file does; sshd's own default is no."""
    assert "default is no" in said(with_config(NEW, "Include /etc/ssh/sshd_config.d/*.conf\n"), "no_pam")


def test_a_broken_configuration_is_told_alone() -> None:
    """What it comes to is not guessed while sshd does not take it."""
    assert rows(with_sshd(with_config(NEW, "Include"), complaint="line 1: missing")) == {
        "sshd_config_broken": Action.REFUSE
    }


# AuthenticationMethods


@pytest.mark.parametrize(
    "lists", ["any", "none", "none publickey", "publickey none", "publickey keyboard-interactive none"]
)
def test_methods_that_let_the_policy_decide(lists: str) -> None:
    """`none` alone is enough, and no list asks for a second method."""
    assert rows(with_config(NEW, STOCK + f"AuthenticationMethods {lists}\n")) == {}


@pytest.mark.parametrize(
    "lists", ["publickey", "keyboard-interactive", "publickey password", "publickey keyboard-interactive"]
)
def test_methods_that_keep_the_policy_from_being_asked(lists: str) -> None:
    """Clients ask with `none`, which no list begins with."""
    assert rows(with_config(NEW, STOCK + f"AuthenticationMethods {lists}\n")) == {"one_method": Action.ASK}


@pytest.mark.parametrize(
    "lists", ["publickey,password", "none,publickey", "none publickey,password", "publickey publickey,password"]
)
def test_several_methods_are_asked_about(lists: str) -> None:
    """One identity must not answer for two of them."""
    assert rows(with_config(NEW, STOCK + f"AuthenticationMethods {lists}\n")) == {"several_methods": Action.ASK}


def test_methods_for_some_are_asked_about() -> None:
    """A group's second factor is not to be lost."""
    text = "Match Group admins\nAuthenticationMethods publickey,keyboard-interactive\n"
    assert rows(with_config(NEW, STOCK + text)) == {"several_methods": Action.ASK}


def test_methods_for_the_lan_alone_are_not_asked_about() -> None:
    """They stay what they are."""
    assert (
        rows(with_config(NEW, STOCK + "Match Address 192.0.2.0/24\nAuthenticationMethods publickey,password\n")) == {}
    )


# What stays


def test_what_is_for_others_is_not_told() -> None:
    """A command, a directory and a list for the LAN."""
    text = "Match Address 192.0.2.0/24\nForceCommand true\nChrootDirectory /srv\nDenyUsers bob\nPermitRootLogin no\n"
    assert rows(with_config(NEW, STOCK + text)) == {}


def test_nothing_is_no_command() -> None:
    """`none` is sshd's word for it."""
    assert rows(with_config(NEW, STOCK + "ForceCommand none\nChrootDirectory none\nAuthorizedKeysCommand none\n")) == {}


def test_root_is_kept_out_where_a_match_about_root_says_so() -> None:
    """And not where it is about somebody else."""
    about_root = "PermitRootLogin yes\nMatch User root\nPermitRootLogin no\n"
    assert rows(with_config(NEW, STOCK + about_root)) == {"root_kept_out": Action.HANDLE}
    assert rows(with_config(NEW, STOCK + "Match User alice\nPermitRootLogin no\n")) == {}


@pytest.mark.parametrize("word", ["yes", "YES", "Yes"])
def test_words_of_sshds_in_any_case(word: str) -> None:
    """As sshd takes them."""
    assert rows(with_config(NEW, STOCK.replace("UsePAM yes", f"UsePAM {word}"))) == {}


def test_connections_that_are_refused_whatever_the_policy_says() -> None:
    """From 9.9 on sshd can be told to."""
    assert rows(with_config(NEW, STOCK + "Match User bob\nRefuseConnection yes\n")) == {"user_lists": Action.HANDLE}


# Numbers


@pytest.mark.parametrize(
    ("grace", "fits"), [("0", False), ("1", True), ("120", True), ("150", True), ("151", False), ("x", False)]
)
def test_login_grace(grace: str, fits: bool) -> None:  # noqa: FBT001
    """No end at all is no bound, and neither is a long one."""
    assert ("login_grace" not in rows(with_effective(NEW, logingracetime=grace))) is fits


@pytest.mark.parametrize(
    ("startups", "waiting", "fits"),
    [
        ("10:30:100", 4, True),
        ("10:30:100", 5, False),
        ("9:30:100", 4, True),
        ("8:30:100", 4, False),
        ("100", 49, True),
        ("x", 1, False),
    ],
)
def test_max_startups(startups: str, waiting: int, fits: bool) -> None:  # noqa: FBT001
    """Everybody who waits for a check takes less than half of the places."""
    facts = dataclasses.replace(
        with_effective(NEW, maxstartups=startups), config=Config(check=CheckConfig(waiting=waiting))
    )
    assert ("max_startups" not in rows(facts)) is fits


def test_names_of_hosts_matter_before_98_alone() -> None:
    """From 9.8 on no line of ours looks at PAM_RHOST."""
    assert "use_dns" in rows(with_effective(OLD, usedns="yes"))
    assert rows(with_effective(NEW, usedns="yes")) == {}
