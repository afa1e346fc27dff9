"""`python -m tests.fuzz.coverage [SECONDS]`: the parsers under atheris, which makes up bytes by what they led to.

Each parser has a process of its own for so many seconds (60), beginning with the kept corpus. An input that it stumbles over
is written to `.fuzz/`, and the exit status is 1; one that cannot be run for want of atheris is status 2.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import corpus

FOUND = Path(".fuzz")
LONGEST = 4096
"""Bytes of an input at most."""
MISSING = "atheris is not installed: make fuzz-coverage does it. It has wheels for CPython 3.11 to 3.13 on x86-64 Linux only."


def main(seconds: int) -> int:
    from tests.fuzz.parsers import PARSERS

    if importlib.util.find_spec("atheris") is None:
        print(MISSING, file=sys.stderr)
        return 2
    FOUND.mkdir(exist_ok=True)
    failed = [name for name, (_, kind) in PARSERS.items() if not stands(name, kind, seconds)]
    if failed:
        print(f"Stumbled: {', '.join(failed)}. The inputs are in {FOUND}/; keep each in tests/fuzz/corpus once it is mended.")
    return 1 if failed else 0


def stands(name: str, kind: str, seconds: int) -> bool:
    """Whether a parser took all that was made up for it."""
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(corpus.files(kind).values() if kind else ()):
            Path(folder, str(number)).write_bytes(content)
        print(f"{name}: {seconds} s", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.coverage", "--one", name, folder, str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
            check=False,
        )
    width = shutil.get_terminal_size().columns
    print("\n".join(line[:width] for line in done.stdout.splitlines()[-(2 if done.returncode == 0 else 30) :]), flush=True)
    return done.returncode == 0


def fuzz(name: str, folder: str, seconds: str) -> None:
    """Runs one parser in this process, and ends it."""
    import atheris  # type: ignore[import, unused-ignore]  # installed by its own make target alone

    with atheris.instrument_imports(include=["edgeproxy"]):
        from tests.fuzz.parsers import PARSERS
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=10", f"-artifact_prefix={FOUND}/{name}-"]
    atheris.Setup([sys.argv[0], *options, folder], PARSERS[name][0])
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(*sys.argv[2:5])
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
