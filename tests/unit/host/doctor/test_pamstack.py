"""Services of PAM, read as libpam reads them."""

import pytest

from pam_tailscale.host.doctor.pamstack import read

FILES = {
    "sshd": "# comment\nauth required a.so x # why\n@include common\n-session  optional [y=z w].so\n",
    "common": "auth sufficient b.so\naccount required /lib/security/c.so [arg with blanks] last\n",
    "ours": "auth [success=done default=die] d.so\naccount include sshd\nsession substack sshd\n"
    "PASSWORD required e.so\n",
    "lines": "auth \\\n required \\\nf.so one\nauth required g.so\\",
    "broken": "auth required\nnonsense\nauth include gone\n@include gone\n",
    "loop": "@include loop\nauth required h.so\n",
}


def asked(service: str, kind: str) -> list[str]:
    """The modules of one type."""
    return [line.asks for line in read(service, FILES.get).of(kind)]


def test_a_file_and_what_it_includes() -> None:
    """In the place of the include, as if it stood there."""
    assert asked("sshd", "auth") == ["a.so", "b.so"]
    (line,) = read("sshd", FILES.get).of("account")
    assert (line.service, line.number, line.arguments) == ("common", 2, ("arg with blanks", "last"))
    assert str(line) == "/etc/pam.d/common:2"


def test_include_takes_one_type() -> None:
    """Unlike Debian's @include."""
    assert (asked("ours", "auth"), asked("ours", "account")) == (["d.so"], ["c.so"])


def test_controls_types_and_dashes() -> None:
    """In whatever case the type is; brackets hold a control together."""
    stack = read("ours", FILES.get)
    assert stack.of("auth")[0].control == "success=done default=die"
    assert asked("ours", "password") == ["e.so"]
    assert len(read("sshd", FILES.get).of("session")) == 1


def test_lines_go_on() -> None:
    """After a backslash, also where the file ends with one."""
    assert asked("lines", "auth") == ["f.so", "g.so"]
    assert read("lines", FILES.get).lines[0].arguments == ("one",)


def test_what_is_not_there() -> None:
    """A service, and what one includes."""
    assert read("nothing", FILES.get).exists is False
    found = read("broken", FILES.get)
    assert (found.exists, found.lines, found.missing) == (True, (), ("gone",))


@pytest.mark.timeout(10)
def test_a_loop_ends() -> None:
    """As in libpam, by its depth."""
    assert read("loop", FILES.get).missing == ("loop",)
