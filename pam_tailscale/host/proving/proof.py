"""The proof that `enable` does before it changes anything: real logins to the host's own sshd, on a private stage.

    prove() ── the guard ── the play: process 1 of a pid namespace
                             ├─ mounts: the host, read-only, /etc as it is and as it shall be, decoys (stage.py)
                             ├─ network: the tailnet's device and another, and a namespace of clients (cables.py)
                             ├─ one `sshd -i` for each connection (inetd.py)
                             └─ one ssh for each attempt (attempts.py)

sshd, PAM and the agent are the host's own. Nothing of the host is written to; only the agent's journal, and an audit
daemon if there is one, note what they note of every login. However the play ends, everything it made is gone with it.
"""

import contextlib
import json
import os
import secrets
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

from pam_tailscale.errors import ProofError
from pam_tailscale.host.effective import Effective
from pam_tailscale.host.proving import attempts, cables, inetd, namespaces, stage, trial
from pam_tailscale.host.proving.actors import Actor, hashed
from pam_tailscale.host.proving.trial import DECOY, ELSEWHERE, PROBE, Attempt, Key, Outcome, Plan, Variant

SECONDS: Final = 45.0
"""For the whole proof; it takes about three."""
_CHUNK: Final = 1 << 16
_UNSET: Final = "4294967295"
_ROOT: Final = Actor("root", 0, "/root")

Say = Callable[[str], None]


def prove(plan: Plan, say: Say) -> tuple[Outcome, ...]:
    """Try every login of a plan and answer what came of each; `say` gets a line about each step.

    The calling process must have one thread and be root. Raises ProofError where the stage cannot be set up.
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    guard = os.fork()
    if guard == 0:
        os.close(reading)
        _to_the_end(lambda: _guard(plan, writing, parent))
    os.close(writing)
    try:
        return _listen(reading, say)
    finally:
        os.close(reading)
        # Safe where it has ended: its number is kept until we have waited for it.
        os.kill(guard, signal.SIGTERM)
        os.waitpid(guard, 0)


def _listen(reading: int, say: Say) -> tuple[Outcome, ...]:
    """What the play tells, until it ends or its time does."""
    deadline, rest = time.monotonic() + SECONDS, b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            continue
        part = os.read(reading, _CHUNK)
        if not part:
            raise ProofError(
                "the proof ended before its time: see whether the system is short of memory, and run it again"
            )
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            told: dict[str, Any] = json.loads(line)
            if "error" in told:
                raise ProofError(told["error"])
            if "outcomes" in told:
                return tuple(Outcome(**outcome) for outcome in told["outcomes"])
            say(told["say"])
    raise ProofError(f"the proof was not done within {SECONDS:g} s: see what keeps the system busy, and run it again")


def _to_the_end(play: Callable[[], None]) -> NoReturn:
    """What a forked process does, and nothing of what its parent would have done after it."""
    try:
        play()
    finally:
        os._exit(0)


def _guard(plan: Plan, writing: int, parent: int) -> None:
    """Stands between: a pid namespace is for children only, and a terminal's signals must not end the play half-way."""
    namespaces.die_with_parent()
    if os.getppid() != parent:
        return
    os.setsid()
    _forget_signals()
    try:
        namespaces.unshare(namespaces.CLONE_NEWPID | namespaces.CLONE_NEWIPC)
    except OSError as err:
        _tell(writing, {"error": _unable(err)})
        return
    play = os.fork()
    if play == 0:
        _to_the_end(lambda: _play(plan, writing))
    os.close(writing)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(play, signal.SIGKILL))
    os.waitpid(play, 0)


def _forget_signals() -> None:
    """What the parent does about signals is its own affair."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)


def _play(plan: Plan, writing: int) -> None:
    try:
        namespaces.die_with_parent()
        outcomes = _outcomes(plan, lambda text: _tell(writing, {"say": text}))
        told: dict[str, object] = {"outcomes": [_document(outcome) for outcome in outcomes]}
    except ProofError as err:
        told = {"error": str(err)}
    except OSError as err:
        told = {"error": _unable(err)}
    except Exception as err:  # noqa: BLE001 (whatever it is, the parent has to hear of it)
        told = {"error": f"the proof failed in a way that was not foreseen, report this: {type(err).__name__}: {err}"}
    _tell(writing, told)


def _outcomes(plan: Plan, say: Say) -> tuple[Outcome, ...]:
    say("setting a stage: the host read-only, with copies of what shall be changed")
    password = secrets.token_urlsafe()
    fields = {PROBE: hashed(password), DECOY: "", _ROOT.name: hashed(password)}
    if plan.deny is not None:
        fields[plan.deny[0]] = hashed(password)
    actors = stage.build(plan, (PROBE, DECOY), fields)
    # As systemd starts sshd: pam_loginuid may set it once.
    with contextlib.suppress(OSError):
        Path("/proc/self/loginuid").write_text(_UNSET)
    log = stage.open_log()
    attempts.make_answers(password)
    tried = trial.attempts(plan, any_key=True)
    try:
        now = _settings(plan, tried, Variant.BEFORE, elsewhere=True)
    except OSError as err:
        raise ProofError(f"sshd does not take its configuration as it is now, mend that first: {err}") from err
    try:
        later = _settings(plan, tried, Variant.AFTER, elsewhere=True)
        then = _settings(plan, tried, Variant.AFTER, elsewhere=False)
    except OSError as err:
        return (trial.taken(str(err)),)
    own = attempts.make_key(Key.OWN, now.one("PubkeyAcceptedAlgorithms"))
    for actor in (*actors, _ROOT):
        if actor.name != DECOY:
            stage.authorize(actor, now.one("AuthorizedKeysFile").split(), own)
    any_key = attempts.make_key(Key.ANY, then.one("PubkeyAcceptedAlgorithms"))
    tried = trial.attempts(plan, any_key=bool(any_key))
    network = cables.lay(plan, tried)
    server = inetd.Inetd(tried, plan.options, log)
    say(f"trying {len(tried)} logins; the agent's journal shows what it decides about those over the tailnet")
    endings = attempts.run(tried, server, network)
    return (trial.taken(), trial.unchanged(now, later), *trial.judge(plan, endings))


def _settings(plan: Plan, tried: tuple[Attempt, ...], variant: Variant, *, elsewhere: bool) -> Effective:
    """What sshd says that it goes by on such connections. Raises OSError with its complaint."""
    attempt = next(one for one in tried if one.variant is variant and (one.target == ELSEWHERE) is elsewhere)
    return inetd.effective(attempt, plan.options)


def _document(outcome: Outcome) -> dict[str, str]:
    return {
        "name": outcome.name,
        "expected": outcome.expected,
        "found": outcome.found,
        "detail": outcome.detail,
    }


def _unable(err: OSError) -> str:
    return (
        f"the stage for the proof cannot be set up: {err}. It needs Linux 5.12, iproute2, and a root who may mount and "
        "make network namespaces; a container has to be allowed to (nesting)"
    )


def _tell(writing: int, told: dict[str, Any]) -> None:
    data = memoryview(json.dumps(told).encode() + b"\n")
    while data:
        data = data[os.write(writing, data) :]
