"""What is found out about PAM, programs, and the places of our files."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pam_tailscale import paths
from pam_tailscale.host.arrangement import REFERENCE_OF
from pam_tailscale.host.facts import Written
from pam_tailscale.host.looking import gather_files
from pam_tailscale.host.looking.gather_files import host_files, look_at_pam, programs, read_only, trouble
from pam_tailscale.host.programs import Run, attempt

SERVICE = str(paths.PAM_SSHD)
BLOCK_REFERENCE = str(paths.HALVES_DIR / "pam.d-sshd.lines")
STOCK = b"@include common-auth\n"
BLOCK = b"auth [success=done default=die] pam_tailscale.so\n"


def dpkg(digest: str) -> Run:
    """A dpkg that knows the file by this MD5, and nothing else runs."""

    def answer(argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        listed = f"\n /etc/default/ssh 00000000000000000000000000000000\n {SERVICE} {digest}\n"
        return subprocess.CompletedProcess(argv, 0, listed if argv[0] == "dpkg-query" else "", "")

    return answer


def md5(content: bytes) -> str:
    """As dpkg keeps it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("digest", "edited"), [(md5(STOCK), False), (md5(STOCK) + " obsolete", False), (md5(b"other"), True)]
)
def test_the_service_is_held_against_the_packages(digest: str, edited: bool) -> None:  # noqa: FBT001
    """Without our lines, which are no edit of the administrator's."""
    assert look_at_pam({SERVICE: BLOCK + STOCK}, {SERVICE: STOCK}, dpkg(digest)).is_edited is edited


def test_where_dpkg_does_not_know_nothing_is_made_up() -> None:
    """No dpkg, no such package, or a file that the package does not own."""

    def nothing(argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(argv, 1, "", "no packages found")

    assert look_at_pam({SERVICE: STOCK}, {SERVICE: STOCK}, nothing).is_edited is None
    assert look_at_pam({}, {}, dpkg(md5(STOCK))).is_edited is None


@pytest.mark.parametrize(
    ("content", "reference", "written"),
    [
        (STOCK, None, Written.NOT_OURS),
        (b"# pam_tailscale.so was here\n" + STOCK, None, Written.NOT_OURS),
        (BLOCK + STOCK, BLOCK, Written.AS_WRITTEN),
        (BLOCK + b"auth required pam_env.so\n" + STOCK, BLOCK, Written.AS_WRITTEN),
        (b"auth required pam_env.so\n" + BLOCK + STOCK, BLOCK, Written.ALTERED),
        (STOCK, BLOCK, Written.NOT_OURS),
        (BLOCK + STOCK, None, Written.BY_OTHERS),
        (b"auth required pam_env.so\nsession optional pam_tailscale.so mode=observe\n", None, Written.BY_OTHERS),
    ],
)
def test_our_lines_in_the_service(content: bytes, reference: bytes | None, written: Written) -> None:
    """They stand above everything else, to the byte, or they are altered; without a record they are anybody's.

    Where another package has put its own file in the place of ours nothing of anybody's is lost.
    """
    present = {SERVICE: content} | ({BLOCK_REFERENCE: reference} if reference is not None else {})
    service = look_at_pam(present, {SERVICE: STOCK}, dpkg(md5(STOCK))).service
    assert service is not None
    assert service.written is written


# The module


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the module would be."""
    path = tmp_path / "pam_tailscale.so"
    monkeypatch.setattr(gather_files, "module_path", lambda: path)
    return path


def compiled(source: str, path: Path) -> None:
    """A shared object."""
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=source.encode(), check=True)


def complaint() -> str:
    """What is found wrong with the module."""
    return look_at_pam({}, {}, attempt).module_error


def test_a_module_that_loads(module: Path) -> None:
    """With all five functions of the types it stands for."""
    compiled("".join(f"int {name}(void) {{ return 0; }}\n" for name in gather_files._SYMBOLS), module)
    assert complaint() == ""


def test_a_module_that_is_missing(module: Path) -> None:
    """Named by its path."""
    assert complaint() == f"{module} is missing"


def test_a_module_that_is_damaged(module: Path) -> None:
    """The linker's own words."""
    module.write_bytes(b"\x7fELF nonsense")
    assert str(module) in complaint()
    assert "cannot be loaded" in complaint()


def test_a_module_that_lacks_a_type(module: Path) -> None:
    """Libpam would find no function for it, and a stack that asks for it lets nobody in."""
    compiled("int pam_sm_authenticate(void) { return 0; }\n", module)
    assert "pam_sm_setcred" in complaint()


def test_a_module_that_crashes_when_it_is_loaded(module: Path) -> None:
    """Not in this process."""
    compiled("__attribute__((constructor)) static void crash(void) { *(volatile int *)0 = 0; }\n", module)
    assert "cannot be loaded" in complaint()


def test_the_modules_place_is_libpams() -> None:
    """Beside the modules that are there already, on any host with PAM."""
    assert (gather_files.module_path().parent / "pam_unix.so").exists()


# Programs and files


@pytest.fixture
def roots_own() -> Iterator[Path]:
    """A directory below ones that root alone may write to, which /tmp is not."""
    with tempfile.TemporaryDirectory(dir=Path.home()) as directory:
        yield Path(directory)


def test_a_program_that_sshd_starts(tmp_path: Path) -> None:
    """It is there, or it is told that it is not."""
    assert [one.error for one in programs([Path("/bin/true")])] == [""]
    assert [one.error for one in programs([tmp_path / "gone"])] == ["cannot be started (No such file or directory)"]


@pytest.mark.parametrize(
    ("mode", "error"), [(0o755, ""), (0o644, "is no program"), (0o775, "can be changed by others than root")]
)
def test_a_programs_mode(roots_own: Path, mode: int, error: str) -> None:
    """As sshd's safe_path asks."""
    path = roots_own / "program"
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    assert [one.error for one in programs([path])] == [error]


def test_a_directory_that_others_may_write_to(roots_own: Path) -> None:
    """Whoever may rename the directory may put another program there."""
    directory = roots_own / "open"
    directory.mkdir()
    directory.chmod(0o777)
    path = directory / "program"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    assert [one.error for one in programs([path])] == ["can be changed by others than root"]


def test_the_trouble_with_a_file(tmp_path: Path) -> None:
    """A link, a directory, a mode, an owner."""
    path = tmp_path / "file"
    path.write_text("")
    path.chmod(0o644)
    assert trouble(path) == ""
    path.chmod(0o664)
    assert trouble(path) == "can be changed by others than root"
    path.chmod(0o644)
    os.chown(path, 65534, 0)
    assert trouble(path) == "can be changed by others than root"
    (tmp_path / "link").symlink_to(path)
    assert trouble(tmp_path / "link") == "is a link"
    assert trouble(tmp_path) == "is no file"
    assert trouble(tmp_path / "gone") == "cannot be looked at (No such file or directory)"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which all our places are, by their names; the references are kept where they are."""
    moved = {str(tmp_path / Path(path).name): reference for path, reference in REFERENCE_OF.items()}
    monkeypatch.setattr(gather_files, "REFERENCE_OF", moved)
    for name in ("PAM_SSHD", "CONFIG"):
        monkeypatch.setattr(paths, name, tmp_path / getattr(paths, name).name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("10-pam-tailscale.conf", "drop-in"),
        ("sshd-tailscale", "sshd-tailscale"),
        ("not-tailnet.access", "not-tailnet.access"),
    ],
)
@pytest.mark.parametrize(
    ("reference", "written"), [(b"ours", Written.AS_WRITTEN), (b"other", Written.ALTERED), (None, Written.BY_OTHERS)]
)
def test_a_file_at_one_of_our_places(
    places: Path, name: str, kept: str, reference: bytes | None, written: Written
) -> None:
    """What it was written as is on record, or it is somebody else's."""
    path = places / name
    path.write_bytes(b"ours")
    recorded = {str(paths.HALVES_DIR / kept): reference} if reference is not None else {}
    (found,) = host_files({str(path): b"ours", **recorded})
    assert (found.path, found.written) == (str(path), written)


def test_pams_file_for_sshd_is_not_ours(places: Path) -> None:
    """Only lines in it are, and those are looked at with PAM."""
    (places / "sshd").write_bytes(STOCK)
    assert host_files({}) == ()


@pytest.mark.parametrize(
    ("name", "written"), [("10-pam-tailscale.conf", Written.BY_OTHERS), ("agent.toml", Written.NOT_OURS)]
)
def test_a_link_at_one_of_our_places_is_there(places: Path, name: str, written: Written) -> None:
    """Also where it leads nowhere."""
    (places / name).symlink_to("nowhere")
    (found,) = host_files({})
    assert (found.trouble, found.written) == ("is a link", written)


def test_a_directory_that_is_read_only(tmp_path: Path) -> None:
    """On a file system that is; one that is missing counts as the one it would be made in."""
    (tmp_path / "etc").mkdir()
    program = (
        "import sys; from pathlib import Path; from pam_tailscale.host.looking.gather_files import read_only; "
        "print(*read_only([Path(sys.argv[1], name) for name in ('etc', 'etc/new/deep', '')]))"
    )
    script = (
        'mount --bind "$1/etc" "$1/etc" && mount -o remount,bind,ro "$1/etc" && '
        f'exec {sys.executable} -c "{program}" "$1"'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == ([f"{tmp_path}/etc"], "")
    assert read_only([tmp_path / "etc", tmp_path / "new"]) == ()
