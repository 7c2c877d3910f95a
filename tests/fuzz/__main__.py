"""Runs a target on inputs that libFuzzer makes up, led by what the target's code did with those before.

python -m tests.fuzz TARGET DIRECTORY [LIBFUZZER OPTION...]

DIRECTORY keeps what was found to be interesting, and the input that broke something. Without -max_total_time it goes on
until something breaks.
"""

import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pam_tailscale.policy"]):
    from tests.fuzz.targets import TARGETS, seeds

INPUT_MAX = 16384
"""Bytes of an input: large ones have tests of their own."""
SECONDS_MAX = 10
"""For one input."""


def main(name: str, directory: Path, options: list[str]) -> None:
    """Does not return: libFuzzer ends the process, with 0 where its time is over and nothing broke."""
    corpus = directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds():
        (corpus / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
    limits = [f"-max_len={INPUT_MAX}", f"-timeout={SECONDS_MAX}", "-rss_limit_mb=2048"]
    words = f"-dict={Path(__file__).with_name('policy.dict')}"
    atheris.Setup([sys.argv[0], *limits, words, f"-artifact_prefix={directory}/", *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
