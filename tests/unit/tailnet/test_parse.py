"""LocalAPI documents to records: what is taken, what is refused."""

from ipaddress import ip_address
from typing import Any

import pytest

from pam_tailscale.errors import TailscaledError
from pam_tailscale.tailnet import parse
from pam_tailscale.tailnet.records import Whois
from tests.support.localapi import small_tailnet

Object = dict[str, Any]


def whois() -> Object:
    """A whois answer about alice's laptop."""
    tailnet = small_tailnet()
    return tailnet.whois_answer(tailnet.peers[0])


ODD = "something that is not understood"


class TestDocument:
    @pytest.mark.parametrize(
        "text",
        [b"", b"{", b'{"a": 1', b'{"a": "\xff"}', b"[]", b"null", b'"text"', b"{} {}", b"[" * 100_000, b"1" * 10_000],
        ids=["empty", "half", "cut", "not UTF-8", "list", "null", "text", "two", "deep", "long number"],
    )
    def test_anything_but_one_object_is_refused(self, text: bytes) -> None:
        """Half an answer is no answer."""
        with pytest.raises(TailscaledError):
            parse.document(text, "whois")


class TestPeer:
    def test_every_field_is_taken(self) -> None:
        """What a decision asks of a peer is what whois said, the name without its final dot."""
        raw = whois()
        raw["Node"] |= {"KeyExpiry": "2026-05-01T12:00:00.123456789Z", "Expired": True}
        peer = parse.peer(raw)
        assert peer.node_id == raw["Node"]["ID"]
        assert peer.stable_id == raw["Node"]["StableID"]
        assert peer.name == "laptop.tailnet.example"
        assert peer.addresses == (ip_address("100.64.0.2"), ip_address("fd7a:115c:a1e0::2"))
        assert peer.login == "alice@example.com"
        assert peer.user_id == raw["Node"]["User"]
        assert (peer.tags, peer.expired) == ((), True)
        assert peer.key_expiry == pytest.approx(1777636800.123456)

    def test_ids_beyond_two_to_the_53_stay_exact(self) -> None:
        """Two nodes whose ids differ in the last digit are two nodes."""
        raw = parse.document(b'{"Node":{"ID":9007199254740993}}', "whois")
        assert raw["Node"]["ID"] == 2**53 + 1

    def test_absent_and_null_optional_fields_are_the_same(self) -> None:
        """Go leaves out or writes null for what is empty."""
        absent, null = whois(), whois()
        null["Node"] |= {"Tags": None, "Expired": None, "KeyExpiry": None}
        assert parse.peer(absent) == parse.peer(null)

    def test_unknown_fields_are_ignored(self) -> None:
        """Every version of tailscaled may add some."""
        raw = whois()
        raw["New"] = raw["Node"]["New"] = raw["UserProfile"]["New"] = {"x": 1}
        assert parse.peer(raw) == parse.peer(whois())

    @pytest.mark.parametrize("part", ["Node", "UserProfile"])
    @pytest.mark.parametrize("value", [None, [], "x", 1])
    def test_an_answer_without_node_or_user_is_refused(self, part: str, value: object) -> None:
        """Neither is ever absent, so its absence is not taken for an empty one."""
        with pytest.raises(TailscaledError, match=part):
            parse.peer(whois() | {part: value})

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("ID", "1"),
            ("ID", True),
            ("ID", 1.0),
            ("ID", None),
            ("StableID", 1),
            ("Name", None),
            ("User", "1"),
            ("Addresses", "100.64.0.2/32"),
            ("Addresses", [1]),
            ("Addresses", ["100.64.0.2"]),
            ("Addresses", ["100.64.0.0/10"]),
            ("Addresses", ["fd7a:115c:a1e0::2/32"]),
            ("Addresses", ["100.64.0.2%eth0/32"]),
            ("Addresses", ["somewhere/32"]),
            ("Tags", "tag:a"),
            ("Tags", [None]),
            ("Expired", "false"),
            ("Expired", 0),
            ("KeyExpiry", 5),
            ("KeyExpiry", "tomorrow"),
            ("KeyExpiry", "2026-05-01T12:00:00"),
        ],
    )
    def test_a_field_of_the_wrong_type_is_refused(self, field: str, value: object) -> None:
        """A peer of which something is not understood is nobody."""
        raw = whois()
        raw["Node"][field] = value
        with pytest.raises(TailscaledError, match="upgrade pam-tailscale"):
            parse.peer(raw)

    def test_text_from_the_network_is_quoted_and_bounded(self) -> None:
        """A message can be printed: no line breaks, no escape sequences, no megabytes."""
        raw = whois()
        raw["Node"]["KeyExpiry"] = "\n\x1b[31m%s" + "x" * 100_000
        with pytest.raises(TailscaledError) as raised:
            parse.peer(raw)
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 1000


class TestMoment:
    @pytest.mark.parametrize("text", ["", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.0+00:00"])
    def test_gos_zero_time_is_none(self, text: str) -> None:
        """It means that there is no time, not that it has passed."""
        assert parse.moment(text) is None

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("1970-01-01T00:00:01Z", 1),
            ("1970-01-01T01:00:01+01:00", 1),
            ("2026-05-01T12:00:00.999999999Z", 1777636800.999999),
            ("2026-05-01T12:00:00.5Z", 1777636800.5),
        ],
    )
    def test_times_are_read_as_go_writes_them(self, text: str, seconds: float) -> None:
        """With nanoseconds, and in any zone."""
        assert parse.moment(text) == pytest.approx(seconds, abs=1e-5)


class TestWhois:
    def test_a_peer_that_is_nothing_but_itself(self) -> None:
        """The node, nothing granted, nothing routed, of this tailnet."""
        found = parse.whois(whois())
        assert found == Whois(parse.peer(whois()))
        assert (found.capabilities, found.routes, found.shared) == ({}, (), False)

    def test_what_is_granted(self) -> None:
        """Every capability with its value as it came."""
        granted = {"acme.example/cap/ssh": [{"users": ["alice"]}], "acme.example/other": None}
        assert parse.whois(whois() | {"CapMap": granted}).capabilities == granted
        assert parse.whois(whois() | {"CapMap": None}).capabilities == {}

    @pytest.mark.parametrize(
        ("changes", "routes"),
        [
            ({"AllowedIPs": ["100.64.0.2/32", "10.0.0.0/24"]}, ("10.0.0.0/24",)),
            ({"AllowedIPs": ["0.0.0.0/0", "::/0"]}, ("0.0.0.0/0", "::/0")),
            ({"PrimaryRoutes": ["10.0.0.0/24"]}, ("10.0.0.0/24",)),
            ({"Hostinfo": {"RoutableIPs": ["10.0.0.0/24"]}}, ("10.0.0.0/24",)),
            ({"AllowedIPs": ["10.0.0.0/24"], "PrimaryRoutes": ["10.0.0.0/24"]}, ("10.0.0.0/24",)),
            ({"Hostinfo": {"AppConnector": True}}, ("app connector",)),
            ({"Hostinfo": {"AppConnector": False}}, ()),
            ({"Hostinfo": None, "AllowedIPs": None}, ()),
            # What a peer says of itself: odd values count against it, where that is asked, and end nothing else.
            ({"Hostinfo": []}, (ODD,)),
            ({"Hostinfo": {"RoutableIPs": {}}}, (ODD,)),
            ({"Hostinfo": {"RoutableIPs": ["10.0.0.0/24"], "AppConnector": "true"}}, ("10.0.0.0/24", ODD)),
        ],
    )
    def test_what_is_routed(self, changes: Object, routes: tuple[str, ...]) -> None:
        """All that is not the node's own address, in whichever way it is said."""
        raw = whois()
        raw["Node"] |= changes
        assert parse.whois(raw).routes == routes

    @pytest.mark.parametrize(
        "changes", [{"Hostinfo": {"ShareeNode": True}}, {"Hostinfo": {"ShareeNode": "yes"}}, {"Sharer": 17}]
    )
    def test_a_node_of_another_tailnet(self, changes: Object) -> None:
        """Shared by somebody, or somebody to whom a node is shared."""
        raw = whois()
        raw["Node"] |= changes
        assert parse.whois(raw).shared

    @pytest.mark.parametrize(
        ("place", "field", "value"),
        [
            ("", "CapMap", []),
            ("Node", "AllowedIPs", "10.0.0.0/8"),
            ("Node", "PrimaryRoutes", [1]),
            ("Node", "Sharer", "17"),
        ],
    )
    def test_a_wrong_type_is_refused(self, place: str, field: str, value: object) -> None:
        """It may mean what is not known here."""
        raw = whois()
        target = {"": raw, "Node": raw["Node"], "Hostinfo": raw["Node"]["Hostinfo"]}[place]
        target[field] = value
        with pytest.raises(TailscaledError, match=field):
            parse.whois(raw)


class TestStatus:
    def test_a_running_node(self) -> None:
        """Status says which node of which tailnet this is."""
        tailnet = small_tailnet()
        tailnet.health = ["a problem"]
        status = parse.status(tailnet.status())
        assert (status.version, status.backend_state, status.tun) == ("1.104.5", "Running", True)
        assert status.self_stable_id == tailnet.own.stable_id
        assert status.self_name == "server.tailnet.example"
        assert status.self_addresses == (ip_address("100.64.0.1"), ip_address("fd7a:115c:a1e0::1"))
        assert (status.self_user, status.self_tags) == ("tagged-devices", ("tag:server",))
        assert (status.tailnet_id, status.tailnet_name) == ("tExampleCNTRL", "tailnet.example")
        assert status.health == ("a problem",)

    def test_a_node_that_is_logged_out(self) -> None:
        """It has no identity, which is not an error: the state says why."""
        tailnet = small_tailnet()
        tailnet.state = "NeedsLogin"
        status = parse.status(tailnet.status())
        assert status.backend_state == "NeedsLogin"
        assert (status.self_stable_id, status.self_addresses, status.tailnet_id) == ("", (), "")

    @pytest.mark.parametrize("missing", ["Version", "BackendState", "TUN"])
    def test_what_is_always_there_must_be_there(self, missing: str) -> None:
        """A status without its state is not one of a node that runs."""
        raw = small_tailnet().status()
        del raw[missing]
        with pytest.raises(TailscaledError, match=missing):
            parse.status(raw)

    @pytest.mark.parametrize(
        ("field", "value"), [("TUN", "true"), ("Self", []), ("CurrentTailnet", "x"), ("User", []), ("Health", "ill")]
    )
    def test_wrong_types_are_refused(self, field: str, value: object) -> None:
        """The identity of this host is never guessed."""
        with pytest.raises(TailscaledError, match=field):
            parse.status(small_tailnet().status() | {field: value})


class TestPeers:
    def test_what_status_says_of_them(self) -> None:
        """Tags where a node has some, and every address."""
        tailnet = small_tailnet()
        tailnet.peers[1].tags = ("tag:ci",)
        tailnet.changed()
        alice, runner = parse.peers(tailnet.status_with_peers())
        assert alice.addresses == (ip_address("100.64.0.2"), ip_address("fd7a:115c:a1e0::2"))
        assert (alice.user_id, alice.tags, alice.online) == (tailnet.user_id(tailnet.peers[0]), (), True)
        assert runner.tags == ("tag:ci",)

    @pytest.mark.parametrize("raw", [{}, {"Peer": None}, {"Peer": {}}])
    def test_there_may_be_none(self, raw: Object) -> None:
        """As when it was not asked for, or the node is alone."""
        assert parse.peers(raw) == ()

    @pytest.mark.parametrize(
        "changes",
        [
            {"UserID": "1"},
            {"UserID": None},
            {"TailscaleIPs": ["x"]},
            {"TailscaleIPs": "x"},
            {"Tags": [1]},
            {"Online": 1},
        ],
        ids=str,
    )
    def test_a_peer_of_another_shape_is_refused(self, changes: Object) -> None:
        """None is left out in silence."""
        status = small_tailnet().status_with_peers()
        next(iter(status["Peer"].values())).update(changes)
        with pytest.raises(TailscaledError):
            parse.peers(status)

    @pytest.mark.parametrize("peers", [[], "x", {"key": None}, {"key": []}], ids=str)
    def test_what_is_no_table_of_peers_is_refused(self, peers: object) -> None:
        """Nor is anything else taken for one."""
        with pytest.raises(TailscaledError):
            parse.peers({"Peer": peers})


class TestPrefs:
    def test_every_field_is_taken(self) -> None:
        """The settings by which somebody without root could change who may log in."""
        raw = small_tailnet().prefs | {"OperatorUser": "alice", "RunSSH": True, "LoggedOut": True, "ShieldsUp": True}
        prefs = parse.prefs(raw)
        assert prefs.control_url == "https://control.tailnet.example"
        assert (prefs.run_ssh, prefs.want_running, prefs.logged_out) == (True, True, True)
        assert (prefs.operator_user, prefs.shields_up) == ("alice", True)

    @pytest.mark.parametrize("missing", ["ControlURL", "RunSSH", "WantRunning"])
    def test_what_is_always_there_must_be_there(self, missing: str) -> None:
        """Prefs without a control plane are not those of Tailscale's own."""
        raw = dict(small_tailnet().prefs)
        del raw[missing]
        with pytest.raises(TailscaledError, match=missing):
            parse.prefs(raw)


class TestEvent:
    @pytest.mark.parametrize(
        ("raw", "self_change", "peers_changed", "state"),
        [
            ({"Version": "1.104.5", "SelfChange": None, "State": None}, False, False, None),
            ({"SelfChange": {"ID": 1}}, True, False, None),
            ({"NetMap": {"SelfNode": {}}}, True, False, None),
            ({"PeersChanged": [{}]}, False, True, None),
            ({"PeersRemoved": [5]}, False, True, None),
            ({"State": 6}, False, False, "Running"),
            ({"State": 0}, False, False, "NoState"),
            ({"Unheard": {"of": 1}}, False, False, None),
        ],
    )
    def test_what_changed_is_told(
        self, raw: Object, *, self_change: bool, peers_changed: bool, state: str | None
    ) -> None:
        """A message says what kind of thing changed; the thing itself is asked for anew."""
        event = parse.event(raw)
        assert (event.self_change, event.peers_changed, event.state) == (self_change, peers_changed, state)

    def test_prefs_are_taken(self) -> None:
        """Settings come with the message that announces them."""
        event = parse.event({"Prefs": small_tailnet().prefs})
        assert event.prefs is not None
        assert event.prefs.control_url == "https://control.tailnet.example"

    @pytest.mark.parametrize("state", [-1, 7, True, "Running", 6.0])
    def test_an_unknown_state_is_refused(self, state: object) -> None:
        """A state that does not exist yet is not Running."""
        with pytest.raises(TailscaledError, match="state"):
            parse.event({"State": state})

    def test_the_message_that_ends_a_watch_is_an_error(self) -> None:
        """Whoever is too slow is cut off by tailscaled; then changes have been missed."""
        with pytest.raises(TailscaledError, match="fell behind"):
            parse.event({"ErrMessage": "IPN bus consumer fell behind; closing watch"})
