"""Makes `.venv` from the locked requirements: `python3 scripts/environment.py run|dev`.

Needs nothing but a Python and runs under any, old ones included, to say what is missing in a sentence; it finds a
Python >= 3.11 by itself. Where the system has the same version it is the system's that is used: distributions build theirs
with profile-guided optimization, which those that people build for themselves mostly lack (a request costs an eighth more
with such a one). Where it lacks venv or pip it installs Debian's package if it may. What is installed already is left alone,
so a second run takes a moment.
"""

import hashlib
import os
import shutil
import subprocess
import sys

LEAST = (3, 11)
CANDIDATES = ("python3", "python3.14", "python3.13", "python3.12", "python3.11", "python")
SYSTEM = "/usr/bin"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}  # the second has all of the first


def main(purpose):
    lock = os.path.join(ROOT, LOCKS[purpose])
    python = interpreter()
    number = version(python)
    state = [read(os.path.join(VENV, ".made-of-" + each)) for each in LOCKS]
    wanted = digest(lock, number)
    if wanted in state and os.path.exists(os.path.join(VENV, "bin", "edgeproxy")):
        return
    make_venv(python)
    say("Installing the packages of {} into .venv …".format(os.path.basename(lock)))
    pip = [os.path.join(VENV, "bin", "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    if subprocess.call(pip + ["--require-hashes", "--only-binary", ":all:", "--requirement", lock]) != 0:
        fail("The packages could not be installed; pip says above why. Without a network there is no way around it.")
    link()
    write(os.path.join(VENV, ".made-of-" + purpose), wanted)
    other = "run" if purpose == "dev" else "dev"
    if purpose == "dev":
        write(os.path.join(VENV, ".made-of-" + other), digest(os.path.join(ROOT, LOCKS[other]), number))


def interpreter():
    """The Python to use, by its real path: the one that .venv was made with; else the first that is new enough, or the
    system's of the same version, if a venv can be made with it."""
    for name in ("", *CANDIDATES):
        path = os.path.join(VENV, "bin", "python") if not name else shutil.which(name)
        if path is None or not os.path.exists(path):
            continue
        asked = subprocess.run(
            [path, "-c", "import sys; print(sys.version_info[0], sys.version_info[1], sys._base_executable)"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        answer = asked.stdout.decode().split(None, 2)
        if asked.returncode == 0 and (int(answer[0]), int(answer[1])) >= LEAST:
            found = answer[2].strip()
            system = "{}/python{}.{}".format(SYSTEM, *answer[:2])
            if not name or not os.path.exists(system) or os.path.realpath(system) == os.path.realpath(found):
                return found
            return system if has_venv(system) or install_venv(system) else found
    fail("Python 3.11 or newer is needed and none was found. On Debian 12 or later: apt-get install python3 python3-venv")


def make_venv(python):
    """Makes .venv anew unless it is whole. Installs Debian's venv package where that is what lacks."""
    if (
        os.path.exists(os.path.join(VENV, "bin", "pip"))
        and subprocess.call([os.path.join(VENV, "bin", "python"), "-c", ""]) == 0
    ):
        return
    if not has_venv(python):
        package = venv_package(python)
        say("This Python has no venv. Debian has it in a package of its own: {}.".format(package))
        if root_by() is None or shutil.which("apt-get") is None:
            fail("Install it, then try again: sudo apt-get install {}".format(package))
        if not install_venv(python):
            fail("{} could not be installed; apt-get says above why.".format(package))
    say("Making .venv with {} …".format(python))
    shutil.rmtree(VENV, ignore_errors=True)
    if subprocess.call([python, "-m", "venv", VENV]) != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        fail("The virtual environment could not be made; Python says above why.")


def has_venv(python):
    return subprocess.call([python, "-c", "import venv, ensurepip"], stderr=subprocess.DEVNULL) == 0


def venv_package(python):
    return "python{}.{}-venv".format(*version(python))


def install_venv(python):
    """Installs Debian's package of what venv needs, where this user may; whether it is there now."""
    become_root = root_by()
    if become_root is None or shutil.which("apt-get") is None:
        return False
    package = venv_package(python)
    say("Installing {} …".format(package))
    apt = become_root + ["apt-get", "--quiet=2"]
    install = apt + ["install", "--yes", "--no-install-recommends", package]
    quiet = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    if subprocess.call(install, env=quiet) != 0:
        subprocess.call(apt + ["update"], env=quiet)
        subprocess.call(install, env=quiet)
    return has_venv(python)


def link():
    """Makes the checkout importable in .venv, and `edgeproxy` a command of it, without a build."""
    folder = subprocess.check_output(
        [os.path.join(VENV, "bin", "python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    )
    write(os.path.join(folder.decode().strip(), "edgeproxy-checkout.pth"), ROOT + "\n")
    command = os.path.join(VENV, "bin", "edgeproxy")
    python = os.path.join(VENV, "bin", "python")
    # Through sh: a "#!" line ends at 127 bytes and at a blank, and the folder may be anywhere.
    write(command, "#!/bin/sh\nexec '{}' -m edgeproxy \"$@\"\n".format(python.replace("'", "'\\''")))
    os.chmod(command, 0o755)


def root_by():
    """What to put before a command that needs root: nothing, sudo where it asks nothing, or None where we may not."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.call(["sudo", "-n", "true"], stderr=subprocess.DEVNULL) == 0:
        return ["sudo", "-n"]
    return None


def version(python):
    return subprocess.check_output([python, "-c", "import sys; print(*sys.version_info[:2])"]).decode().split()


def digest(lock, number):
    """Changes when the lock, Python's version or the place of the checkout does."""
    with open(lock, "rb") as file:
        return hashlib.sha256(file.read() + ".".join(number).encode() + ROOT.encode()).hexdigest()


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def say(text):
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def fail(text):
    say(text)
    sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in LOCKS:
        fail("usage: python3 scripts/environment.py run|dev")
    main(sys.argv[1])
