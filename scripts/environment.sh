#!/bin/sh
# Makes the virtual environment from requirements.lock; the host's own pip configuration says where packages come from.
set -eu
venv=$1
python=${PYTHON:-python3}

say() { printf '%s\n' "$*" >&2; }

if ! command -v "$python" >/dev/null 2>&1 || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "Python 3.11 or later is needed, and '$python' is not that."
    say "Install it, or name one: make PYTHON=python3.12 ..."
    exit 1
fi

if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    package="python3-venv"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "This Python has no venv module: installing Debian's $package."
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
    else
        say "This Python has no venv module. Run: sudo apt-get install $package"
        exit 1
    fi
fi

if ! "$venv/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "Making the virtual environment $venv."
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
say "Installing what requirements.lock pins."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
touch "$venv/.complete"
