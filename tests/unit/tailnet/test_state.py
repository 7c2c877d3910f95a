"""tailscaled's state file: the machine key out of it, and of everything else nothing."""

import base64
import json
import os
import traceback
from pathlib import Path

import pytest

from pam_tailscale.errors import TailscaledError
from pam_tailscale.tailnet import state

KEY = "privkey:" + "0123456789abcdef" * 4
OTHER = "privkey:" + "fedcba9876543210" * 4


def encoded(text: str) -> str:
    """A value as ipn/store writes it: bytes in base64."""
    return base64.b64encode(text.encode()).decode()


def state_of(key: object = None) -> dict[str, object]:
    """The state of a node that has logged in."""
    return {
        "_current-profile": encoded("profile-1a2b"),
        "_machinekey": encoded(KEY) if key is None else key,
        "_profiles": encoded("{}"),
        "profile-1a2b": encoded(json.dumps({"Config": {"PrivateNodeKey": OTHER}})),
    }


def written(folder: Path, content: object) -> str:
    """The path of a state file with this content."""
    path = folder / "tailscaled.state"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=2).encode())
    path.chmod(0o600)
    return str(path)


def test_the_machine_key_is_found(tmp_path: Path) -> None:
    """As tailscaled has written it."""
    assert state.machine_key(written(tmp_path, state_of())) == KEY


SEALED = {"key": {"Private": "AAAA", "Public": "BBBB"}, "nonce": encoded("n" * 24), "data": encoded(KEY)}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no machine key in it"),
        (b"{}", "no machine key in it"),
        ({"_profiles": encoded("{}")}, "no machine key in it"),
        (state_of() | {"_machinekey": None}, "no machine key in it"),
        (SEALED, "sealed by the TPM"),
        (b"\x00" * 100, "is not understood"),
        (b"[" * 100_000, "is not understood"),
        (b"\xff", "is not understood"),
        (b'{"_machinekey":', "is not understood"),
        ([KEY], "is not understood"),
        (KEY, "is not understood"),
        (state_of(5), "form that this version does not know"),
        (state_of(""), "form that this version does not know"),
        (state_of(KEY), "form that this version does not know"),
        (state_of(encoded("")), "form that this version does not know"),
        (state_of(encoded(KEY) + "\n"), "form that this version does not know"),
        (state_of(encoded(KEY + "\n")), "form that this version does not know"),
        (state_of(encoded(KEY[:-1])), "form that this version does not know"),
        (state_of(encoded(KEY.upper())), "form that this version does not know"),
        (state_of(encoded(KEY.replace("priv", "node"))), "form that this version does not know"),
        (state_of(encoded("\u00e4" * 36)), "form that this version does not know"),
    ],
)
def test_a_state_without_a_key_that_can_be_read(tmp_path: Path, content: object, text: str) -> None:
    """Is an error that says what it is, and has nothing of the file in it."""
    with pytest.raises(TailscaledError, match=text) as caught:
        state.machine_key(written(tmp_path, content))
    assert "oidc" in str(caught.value) or "upgrade" in str(caught.value) or "right file" in str(caught.value)
    seen = "".join(traceback.format_exception(caught.value))
    assert "89abcdef" not in seen
    assert encoded(KEY)[:20] not in seen


def test_what_to_do_about_a_sealed_state(tmp_path: Path) -> None:
    """Both ways are named."""
    with pytest.raises(TailscaledError, match=r'--encrypt-state=false, or .* \(by = "oidc" in \[check\]\)'):
        state.machine_key(written(tmp_path, SEALED))


def test_no_file(tmp_path: Path) -> None:
    """The path is named, and the option for another."""
    with pytest.raises(TailscaledError, match=r"tailscaled\.state \(No such file or directory\): .*--state"):
        state.machine_key(str(tmp_path / "tailscaled.state"))


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    """The key in it would be theirs."""
    path = written(tmp_path, state_of())
    Path(path).chmod(mode)
    with pytest.raises(TailscaledError, match="root alone can write"):
        state.machine_key(path)


def test_a_file_of_another_user_is_not_believed(tmp_path: Path) -> None:
    """Nor is theirs."""
    path = written(tmp_path, state_of())
    os.chown(path, 65534, 0)
    with pytest.raises(TailscaledError, match="root alone can write"):
        state.machine_key(path)


@pytest.mark.parametrize("kind", ["directory", "pipe", "device"])
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """Nor waited for."""
    path = tmp_path / "tailscaled.state"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(TailscaledError, match="root alone can write"):
        state.machine_key(str(path))


@pytest.mark.parametrize(("more", "taken"), [(0, True), (1, False)])
def test_the_size_is_bounded(tmp_path: Path, more: int, taken: bool) -> None:  # noqa: FBT001
    """Up to 1 MiB is read, whatever tailscaled keeps beside the key."""
    content = json.dumps(state_of()).encode()
    path = written(tmp_path, content + b" " * (state.FILE_MAX - len(content) + more))
    if taken:
        assert state.machine_key(path) == KEY
    else:
        with pytest.raises(TailscaledError, match="larger than 1 MiB"):
            state.machine_key(path)


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    """Whatever is found there."""
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 -- a glob has a descriptor of its own
    written(tmp_path, SEALED)
    for path in (tmp_path, tmp_path / "tailscaled.state", tmp_path / "none"):
        with pytest.raises(TailscaledError):
            state.machine_key(str(path))
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
