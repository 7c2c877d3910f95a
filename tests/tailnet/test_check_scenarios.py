"""The check-mode scenarios of headscale's own SSH tests (integration/ssh_test.go), with sshd in Tailscale SSH's place.

A stock ssh shows the prompt; approving is the control plane's own command line.
"""

import pytest

from tests.support.members import Members, check, make_policy
from tests.support.waiting import wait_until
from tests.support.waiting_login import WaitingLogin, plain_ssh

ACCOUNT = "ssh-it-user"
SERVER, SOURCE, STRANGER = "srv", "u1a", "u2a"
TO_SERVERS = (["user1@"], ["tag:server"], ACCOUNT, "root")


@pytest.fixture(autouse=True)
def _checked(members: Members) -> None:
    """Only user1 reaches the server, and only after a check; nothing is approved yet (a new policy forgets that)."""
    members.put_in_force(make_policy(check(*TO_SERVERS)), {SERVER: (STRANGER, ACCOUNT)})
    members.until_reason({"check_needed"}, SERVER, ACCOUNT, members.nodes[SOURCE].ipv4)
    # What was begun under an earlier test's policy is not asked about again.
    members.hosts[SERVER].cli("check", "--forget", "user1@headscale.net", check=False)


def waiting(members: Members, user: str = ACCOUNT, name: str = "login") -> WaitingLogin:
    """A login from user1's device that waits for the person."""
    command = plain_ssh(user, members.nodes[SERVER].ipv4)
    return WaitingLogin(members.nodes[SOURCE].box, command, name)


def auth_id(page: str) -> str:
    """The id in the address of a page."""
    return page.rstrip("/").rpartition("/")[2]


def approve(members: Members, page: str) -> None:
    """What an administrator of the control plane does."""
    members.tailnet.box.run(["/usr/bin/headscale", "auth", "approve", "--auth-id", auth_id(page)])


def reject(members: Members, page: str) -> None:
    """The same, the other way."""
    members.tailnet.box.run(["/usr/bin/headscale", "auth", "reject", "--auth-id", auth_id(page)])


def let_in(members: Members, login: WaitingLogin) -> None:
    """The command was run on the server."""
    assert (login.finish(), login.stdout.strip()) == (0, SERVER), (login.stderr, members.report(SERVER))


def pass_a_check(members: Members) -> str:
    """One login that is approved; the page it was sent to."""
    with waiting(members, name="first") as login:
        page = login.page()
        approve(members, page)
        let_in(members, login)
    return page


def test_one_user_to_one_approved_by_the_command_line(members: Members) -> None:
    """TestSSHOneUserToOneCheckModeCLI: it blocks, is approved, and goes on; somebody else is refused all the time."""
    assert not members.login(SOURCE, ACCOUNT, SERVER, "-o", "BatchMode=yes").accepted
    with waiting(members) as login:
        page = login.page()
        assert "Press Enter now, or after approving" in login.prompt()
        assert login.process.poll() is None
        assert members.login(STRANGER, ACCOUNT, SERVER).refused
        approve(members, page)
        let_in(members, login)


def test_a_second_login_is_not_asked(members: Members) -> None:
    """TestSSHCheckModeAutoApprove: the control plane remembers, also for BatchMode and for another account."""
    pass_a_check(members)
    for user in (ACCOUNT, "root"):
        again = members.login(SOURCE, user, SERVER, "-o", "BatchMode=yes")
        assert again.accepted, (again, members.report(SERVER))
    assert "check_passed" in members.hosts[SERVER].decisions()[-1]


def test_after_the_period_it_is_asked_anew(members: Members) -> None:
    """TestSSHCheckModeCheckPeriodCLI: with a period of a minute the approval is gone after it; another page."""
    policy = make_policy(check(*TO_SERVERS, period="1m"))
    members.put_in_force(policy, {SERVER: (STRANGER, ACCOUNT)})
    page = pass_a_check(members)

    def asked_anew() -> bool:
        assert not members.login(SOURCE, ACCOUNT, SERVER, "-o", "BatchMode=yes").accepted
        return True

    wait_until(asked_anew, 90, "the approval has lost its force", pause_seconds=2)
    with waiting(members) as login:
        another = login.page()
        assert another != page
        approve(members, another)
        let_in(members, login)


def test_nobody_approves(members: Members) -> None:
    """TestSSHCheckModeUnapprovedTimeout: no output; and nothing of the login is left when the person has gone."""
    server = members.nodes[SERVER].box
    with waiting(members) as login:
        page = login.page()
        login.hang_up()
        assert login.stdout == ""
    wait_until(lambda: not _preauth(members), 10, "no sshd process is held for a client that has gone")
    assert "waiting" in members.hosts[SERVER].cli("check").stdout
    # The check survives the connection that began it.
    with waiting(members) as again:
        assert again.page() == page
        approve(members, page)
        let_in(members, again)
    assert server.exists("/run/pam-tailscale/agent.sock")


def _preauth(members: Members) -> list[str]:
    """The processes of connections to the server that have not logged in."""
    listed = members.nodes[SERVER].box.run(["ps", "-eo", "args="]).stdout
    marks = ("[pam]", "[net]", "[preauth]")
    return [line for line in listed.splitlines() if line.startswith("sshd") and any(mark in line for mark in marks)]


def test_the_control_plane_restarts_while_a_check_is_pending(members: Members) -> None:
    """TestSSHCheckModeSessionLossReDelegates: the person is sent to a new page, which then lets them in."""
    with waiting(members) as login:
        page = login.page()
        members.tailnet.stop()
        members.tailnet.serve()

        def another() -> str:
            pages = {login.page(number) for number in range(len(login.prompts))} - {page}
            assert pages, "still the page that was lost"
            return pages.pop()

        fresh = wait_until(another, 60, "another page is shown", pause_seconds=0.5)
        approve(members, fresh)
        let_in(members, login)


def test_a_rejected_check_refuses(members: Members) -> None:
    """TestSSHCheckModeNegativeCLI: no output; and the next login is asked anew."""
    with waiting(members) as login:
        page = login.page()
        reject(members, page)
        assert login.finish() == 255
        assert login.stdout == ""
        assert "tailnet policy does not permit you to SSH" in login.stderr
    assert "reason=check_rejected" in members.hosts[SERVER].decisions()[-1]
    with waiting(members, name="second") as again:
        assert again.page() != page


def test_two_connections_wait_for_one_approval(members: Members) -> None:
    """Both are sent to the same page, and both go on when it is approved."""
    with waiting(members, name="one") as one, waiting(members, name="two") as two:
        assert one.page() == two.page()
        approve(members, one.page())
        let_in(members, one)
        let_in(members, two)


def test_explain_and_check_tell_of_it(members: Members) -> None:
    """That a check is needed, by whom, and the last one; that how long it counts is the control plane's business."""
    host, source = members.hosts[SERVER], members.nodes[SOURCE].ipv4
    told = host.cli("explain", ACCOUNT, "--from", source, check=False)
    assert told.returncode == 4
    assert "none known here" in told.stdout
    pass_a_check(members)
    told = host.cli("explain", ACCOUNT, "--from", source, check=False)
    assert "by control" in told.stdout
    assert "remembered by the control plane, unknown here" in host.cli("check").stdout
