"""The packages themselves: what is in them, how they are built, and what Debian's own tools find wrong with them."""

import ast
import io
import re
import stat
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_tailscale import __version__
from tests.support import debs
from tests.support.booted import Booted, booted_root
from tests.support.roots import PROJECT, Suite
from tests.support.sandbox import Sandbox

DEBIAN = PROJECT / "debian"
KIB_MAX = 1024
EXPOSURE_MAX = 20
"""In tenths, as systemd-analyze wants it."""
PYTHON = "usr/lib/python3/dist-packages/pam_tailscale/"

# Directories and the content of dist-packages apart: everything, with its mode.
CONTENT = {
    "libpam-tailscale": {
        f"usr/lib/{sysconfig.get_config_var('MULTIARCH')}/security/pam_tailscale.so": 0o644,
        "usr/share/man/man8/pam_tailscale.8.gz": 0o644,
    },
    "pam-tailscale": {
        "usr/bin/pam-tailscale": 0o755,
        "usr/bin/pam-tailscale-agent": 0o755,
        "usr/libexec/pam-tailscale/authorized-keys": 0o755,
        "usr/libexec/pam-tailscale/check-halves": 0o755,
        "usr/libexec/pam-tailscale/root-reader": 0o755,
        "usr/lib/systemd/system/pam-tailscale-agent.service": 0o644,
        "usr/lib/systemd/system/pam-tailscale-agent.socket": 0o644,
        "usr/lib/systemd/system/pam-tailscale-halves-again.service": 0o644,
        "usr/lib/systemd/system/pam-tailscale-halves.path": 0o644,
        "usr/lib/systemd/system/pam-tailscale-halves.service": 0o644,
        "usr/lib/systemd/system/pam-tailscale-reader.socket": 0o644,
        "usr/lib/systemd/system/pam-tailscale-reader@.service": 0o644,
        "usr/lib/systemd/system/ssh.service.d/pam-tailscale.conf": 0o644,
        "usr/lib/sysusers.d/pam-tailscale.conf": 0o644,
    },
}
DIRECTORIES = {"etc/pam-tailscale", "var/lib/pam-tailscale", "var/lib/pam-tailscale/halves"}
"""Of ours, and empty: who may write there is what matters."""
DOCUMENTATION = ("usr/share/doc/", "usr/share/man/")

# What installing writes below /etc: the accounts, and which of our units start at boot.
WANTS = "/etc/systemd/system"
NEW_IN_ETC = {
    "/etc/pam-tailscale",
    f"{WANTS}/sockets.target.wants",
    f"{WANTS}/multi-user.target.wants/pam-tailscale-agent.service",
    f"{WANTS}/sockets.target.wants/pam-tailscale-agent.socket",
    f"{WANTS}/sockets.target.wants/pam-tailscale-reader.socket",
}
ACCOUNT_FILES = {f"/etc/{name}{end}" for name in ("passwd", "group", "shadow", "gshadow") for end in ("", "-")}


@pytest.fixture(scope="module")
def host(suite: Suite, packages: tuple[Path, ...]) -> Iterator[Sandbox]:
    """A host with the packages installed; systemd does not run."""
    with Sandbox(booted_root(suite), hostname="host") as box:
        debs.install(box, packages)
        yield box


@pytest.fixture
def checks(suite: Suite) -> Iterator[Sandbox]:
    """A machine with the tools; /packages has what was built, with its source."""
    with Sandbox(debs.checks_root(), hostname="checks") as box:
        box.bind(debs.directory(suite), "/packages")
        yield box


def members(package: Path) -> list[tarfile.TarInfo]:
    """What a package holds, with owners and modes."""
    content = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        found = list(archive)
    for member in found:
        member.name = member.name.removeprefix("./")
    return found


def name_of(package: Path) -> str:
    """A package's name."""
    return package.name.partition("_")[0]


def test_the_version_is_one(packages: tuple[Path, ...]) -> None:
    """The changelog's, the program's, and that of each package."""
    first = (DEBIAN / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"pam-tailscale ({__version__}) ")
    assert [package.name.split("_")[1] for package in packages] == [__version__] * len(packages)


def test_the_same_tree_can_be_of_a_lower_version(
    suite: Suite, packages: tuple[Path, ...], lower_packages: tuple[Path, ...]
) -> None:
    """For trying upgrades: the packages, and what the program says of itself."""
    (lower,) = {package.name.split("_")[1] for package in lower_packages}
    subprocess.run(["dpkg", "--compare-versions", lower, "lt", packages[0].name.split("_")[1]], check=True)
    with Sandbox(booted_root(suite)) as box:
        debs.install(box, lower_packages)
        assert lower in box.run(["pam-tailscale", "--version"]).stdout


def test_the_sizes(packages: tuple[Path, ...]) -> None:
    """All of them together are small."""
    assert {name_of(package) for package in packages} == set(CONTENT)
    kib = sum(package.stat().st_size for package in packages) / 1024
    sys.stdout.write(f"deb_kib {kib:.0f}\n")
    assert kib <= KIB_MAX


def test_every_file_is_meant_to_be_there(suite: Suite, packages: tuple[Path, ...]) -> None:
    """With its mode; all are root's, and nothing is a link, a device or more than executable."""
    for package in packages:
        found = members(package)
        assert {(member.uid, member.gid) for member in found} == {(0, 0)}
        assert {stat.S_IMODE(member.mode) for member in found if member.isdir()} == {0o755}
        assert all(member.isdir() or member.isreg() for member in found)
        modes = {member.name: member.mode for member in found if member.isreg()}
        python = {name for name in modes if name.startswith(PYTHON)}
        others = {name: mode for name, mode in modes.items() if not name.startswith((*DOCUMENTATION, PYTHON))}
        own = {name: mode for name, mode in CONTENT[name_of(package)].items() if not name.startswith(DOCUMENTATION)}
        assert others == own
        assert {modes[name] for name in python} <= {0o644}
        if name_of(package) == "pam-tailscale":
            assert {name.removeprefix(PYTHON) for name in python} == program(suite).keys()
            assert {member.name for member in found} >= DIRECTORIES


def sources(suite: Suite, folder: str) -> dict[str, bytes]:
    """The files below a folder of the source that was built, by their names in it."""
    (source,) = debs.directory(suite).glob("*.tar.xz")
    prefix = f"pam-tailscale/{folder}/"
    with tarfile.open(source) as archive:
        found = {member.name: archive.extractfile(member) for member in archive if member.name.startswith(prefix)}
        return {name.removeprefix(prefix): file.read() for name, file in found.items() if file is not None}


def program(suite: Suite) -> dict[str, bytes]:
    """What the program is made of; the C sources are in the other package, built."""
    return {name: text for name, text in sources(suite, "pam_tailscale").items() if not name.startswith("native/")}


def test_every_manual_page_is_there(suite: Suite, packages: tuple[Path, ...]) -> None:
    """Of the module with the module, the others with the program."""
    shipped = {
        name_of(package): {
            member.name.rpartition("/")[2] for member in members(package) if "/man/" in member.name and member.isreg()
        }
        for package in packages
    }
    pages = {f"{page}.gz" for page in sources(suite, "man")}
    assert shipped["libpam-tailscale"] == {"pam_tailscale.8.gz"}
    assert shipped["pam-tailscale"] == pages - {"pam_tailscale.8.gz"}


@pytest.mark.parametrize(
    "program", ["/usr/bin/pam-tailscale", "/usr/bin/pam-tailscale-agent", "/usr/libexec/pam-tailscale/root-reader"]
)
def test_programs_import_nothing_of_whoever_runs_them(host: Sandbox, program: str) -> None:
    """Debian 13's dh_python3 would take -I out of their first line."""
    assert host.read(program).splitlines()[0] == "#!/usr/bin/python3 -I"
    host.write("/srv/theirs/pam_tailscale/__init__.py", "raise SystemExit('imported')\n")
    done = host.run([program, "--version"], env={"PYTHONPATH": "/srv/theirs"}, check=False)
    assert "imported" not in done.stdout + done.stderr


def test_lintian_finds_nothing(checks: Sandbox) -> None:
    """Neither errors nor warnings nor what only pedants mind."""
    command = (
        "lintian --allow-root --pedantic --fail-on=error,warning,pedantic --tag-display-limit=0 /packages/*.changes"
    )
    done = checks.run(["sh", "-c", command], check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_override_has_its_reason() -> None:
    """In a comment above it."""
    for path in DEBIAN.rglob("*lintian-overrides"):
        lines = path.read_text().splitlines()
        for before, line in zip(["", *lines], lines, strict=False):
            assert line.startswith("#") or before.startswith("#"), f"{path.name}: {line}"


def test_building_it_again_gives_the_same_bytes(suite: Suite, packages: tuple[Path, ...], tmp_path: Path) -> None:
    """From its source, by another user, at another place, with another locale, time zone, umask and host name."""
    (source,) = debs.directory(suite).glob("*.tar.xz")
    again = debs.build_again(suite, source, tmp_path)
    assert [(path.name, path.read_bytes()) for path in again] == [(path.name, path.read_bytes()) for path in packages]


_PIUPARTS = """\
mkdir -p /srv/lower /target /tmp/upper /tmp/work
cp /lower/*.deb /srv/lower
cd /srv/lower
dpkg-scanpackages . > Packages
mount -t overlay -o lowerdir=/root-of-debian,upperdir=/tmp/upper,workdir=/tmp/work overlay /target
echo 'deb [trusted=yes] file:///srv/lower ./' > /target/etc/apt/sources.list
exec piuparts --existing-chroot=/target --distribution="$1" --keep-sources-list --bindmount=/srv/lower --no-eatmydata \\
    --pedantic-purge-test --warn-on-usr-move=fail --log-level=error /packages/*.deb 2>&1
"""


def test_piuparts_finds_nothing(checks: Sandbox, suite: Suite, lower_packages: tuple[Path, ...]) -> None:
    """Install, remove, purge; install of a lower version, upgrade, remove, purge: nothing is left or changed."""
    checks.bind(lower_packages[0].parent, "/lower")
    checks.bind(booted_root(suite), "/root-of-debian")
    done = checks.run(["sh", "-euc", _PIUPARTS, "sh", suite], check=False, timeout=280)
    assert done.returncode == 0, done.stdout


# debian/files says that the tree needs no building. The packages are installed before, because autopkgtest would want
# apt-utils in the testbed to make a repository of them.
_AUTOPKGTEST = """\
mkdir -p /target /tmp/upper /tmp/work
mount -t overlay -o lowerdir=/root-of-debian,upperdir=/tmp/upper,workdir=/tmp/work overlay /target
for name in dev proc sys; do mount --rbind /$name /target/$name; done
for name in run tmp; do mount -t tmpfs tmpfs /target/$name; done
echo > /target/etc/apt/sources.list
cp /packages/*.deb /target/srv
tar -C /srv -xf /packages/*.tar.xz
touch /srv/pam-tailscale/debian/files
exec autopkgtest --no-built-binaries --setup-commands='apt-get install --yes /srv/*.deb' --output-dir=/srv/output \\
    /srv/pam-tailscale -- chroot /target 2>&1
"""


def test_autopkgtest_logs_in(checks: Sandbox, suite: Suite) -> None:
    """debian/tests/login in a chroot: on, logins that must succeed and that must not, off."""
    checks.bind(booted_root(suite), "/root-of-debian")
    done = checks.run(["sh", "-euc", _AUTOPKGTEST], check=False, timeout=280)
    assert done.returncode == 0, done.stdout
    assert checks.read("/srv/output/summary").split() == ["login", "PASS"]


def test_the_same_login_where_systemd_runs_the_services(suite: Suite, packages: tuple[Path, ...]) -> None:
    """As autopkgtest would do it in a container or a virtual machine: with our units."""
    with Sandbox(booted_root(suite), hostname="testbed") as hardware, Booted(hardware) as machine:
        debs.install(machine.system, packages)
        machine.system.bind(PROJECT, "/srv/pam-tailscale")
        done = machine.system.run(["/srv/pam-tailscale/debian/tests/login"], check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr


def test_installing_changes_nothing_about_who_may_log_in(suite: Suite, packages: tuple[Path, ...]) -> None:
    """Below /etc are only the accounts and our units that start: no file of sshd's or PAM's."""
    with Sandbox(booted_root(suite)) as box:
        before = etc(box)
        debs.install(box, packages)
        after = etc(box)
    assert {path for path in before if after.get(path) != before[path]} <= ACCOUNT_FILES
    assert after.keys() - before.keys() <= NEW_IN_ETC | ACCOUNT_FILES
    assert after.keys() >= NEW_IN_ETC


def etc(box: Sandbox) -> dict[str, str]:
    """Everything below /etc, with mode, owner and content or target."""
    command = "find /etc -printf '%p\\t%y %m %U %G %l ' \\( -type f -exec sha256sum {} \\; -o -printf '\\n' \\)"
    lines = box.run(["sh", "-euc", command]).stdout.splitlines()
    return {path: rest for path, _, rest in (line.partition("\t") for line in lines)}


@pytest.mark.parametrize("unit", ["pam-tailscale-agent.service", "pam-tailscale-reader@.service"])
def test_systemd_finds_little_that_a_unit_could_do(host: Sandbox, unit: str) -> None:
    """Overall exposure at most 2.0, by the release's own systemd."""
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE_MAX}"]
    done = host.run([*command, f"/usr/lib/systemd/system/{unit}"], check=False)
    overall = re.search(r"Overall exposure level.*", done.stdout)
    assert overall is not None, done.stderr
    sys.stdout.write(f"{overall[0]}\n")
    assert done.returncode == 0


def test_systemd_understands_the_units(host: Sandbox) -> None:
    """Every directive, every program, every manual page."""
    done = host.run(["sh", "-c", "systemd-analyze verify /usr/lib/systemd/system/pam-tailscale-*"], check=False)
    complaints = [line for line in done.stderr.splitlines() if "pam-tailscale" in line]
    assert (done.returncode, complaints) == (0, [])


def test_what_is_imported_is_depended_on(host: Sandbox, suite: Suite, packages: tuple[Path, ...]) -> None:
    """Each library that the program imports comes with a package it depends on, and it depends on no others."""
    (ours,) = (package for package in packages if name_of(package) == "pam-tailscale")
    command = ["dpkg-deb", "--field", str(ours), "Depends"]
    depends = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    libraries = {name for name in re.findall(r"[a-z0-9.+-]+", depends) if name.startswith("python3-")}
    where = "import importlib, sys; print(*(importlib.import_module(name).__file__ for name in sys.argv[1:]))"
    origins = host.run(["/usr/bin/python3", "-I", "-c", where, *third_party(suite)]).stdout.split()
    owners = host.run(["dpkg", "--search", *origins]).stdout.splitlines()
    assert {owner.partition(":")[0] for owner in owners} == libraries


def trees(suite: Suite) -> Iterator[ast.Module]:
    """The modules of the program, which has files of other kinds, too."""
    return (ast.parse(text) for name, text in program(suite).items() if name.endswith(".py"))


def third_party(suite: Suite) -> set[str]:
    """The modules that are neither Python's nor ours."""
    found = set()
    for node in (node for tree in trees(suite) for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"pam_tailscale"}
