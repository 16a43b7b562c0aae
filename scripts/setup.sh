#!/bin/sh
# Make .venv, if it is not there, and install ELSA into it: setup.sh PYTHON REQUIREMENT
set -eu
cd "$(dirname "$0")/.."
python=$1 requirement=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "ELSA needs Python 3.11 or newer, and $python is older; name another:" \
        "make PYTHON=/path/to/python3" >&2
    exit 1
fi

# Debian keeps ensurepip, without which a virtualenv has no pip, in a package of its own.
if [ ! -x .venv/bin/pip ] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "installing python3-venv" >&2
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y -qq python3-venv >/dev/null </dev/null ||
            { apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null </dev/null; }
    else
        echo "python3-venv is missing; install it, as root: apt-get install python3-venv" >&2
        exit 1
    fi
fi

[ -x .venv/bin/pip ] || "$python" -m venv --clear .venv
echo "installing ELSA and what it needs into .venv" >&2
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
    --editable "$requirement"
