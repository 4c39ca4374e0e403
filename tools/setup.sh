#!/bin/sh
# Makes .venv ready: a Python, the packages of requirements.lock with their hashes, Tillbox itself in place.
# Quick when nothing changed, because every make target begins here. A clone that was moved is set up anew, since
# the scripts of an environment hold its path.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.tillbox-installed
in_venv=.venv/bin/python

main() {
    wanted=$(describe)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && is_new_enough "$in_venv"; then
        return
    fi
    echo 'Setting up .venv (a minute at most the first time) …'
    discard_unusable
    rm -f "$stamp"
    uv=$(find_uv) || uv=.venv/bin/uv
    make_environment
    "$uv" pip sync --quiet --python "$in_venv" --require-hashes requirements.lock ||
        fail 'The locked packages could not be installed.' 'With the network back, run the same command again.'
    "$uv" pip install --quiet --python "$in_venv" --no-deps --no-build-isolation --editable . ||
        fail 'Tillbox itself could not be installed into .venv.' 'The lines above say why.'
    printf '%s\n' "$wanted" >"$stamp"
    echo 'Ready.'
}

# What the environment is made from: the folder it stands in and the files that say what belongs into it.
describe() {
    pwd -P
    cat requirements.lock pyproject.toml tools/setup.sh | cksum
}

discard_unusable() {
    if [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" != "$(pwd -P)" ]; then
        rm -rf .venv
    elif [ -d .venv ] && ! is_new_enough "$in_venv"; then
        rm -rf .venv
    fi
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# A uv on PATH may be a broken shim, so it has to answer.
find_uv() {
    for candidate in uv .venv/bin/uv; do
        if "$candidate" --version >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

make_environment() {
    if [ -d .venv ] && "$uv" --version >/dev/null 2>&1; then
        return
    fi
    python=$(find_python)
    if [ "$uv" = uv ]; then
        uv venv --quiet --python "$python" .venv
    else
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "$python lacks its venv module." 'On Debian: apt-get install python3-venv, then run this again.'
        "$python" -m venv .venv
        install_uv
    fi
}

# Even the installer comes with the hash that the lock holds for it.
install_uv() {
    awk '/^uv==/ { inside = 1; print; next } /^[^ ]/ { inside = 0 } inside' requirements.lock >.venv/uv.txt
    "$in_venv" -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt ||
        fail 'uv, which installs the packages, could not be had.' 'With the network back, run the same command again.'
}

find_python() {
    for candidate in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11 python3.14; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail 'Tillbox needs Python 3.11 or newer, and none was found.' \
        'Install one, or name it: make setup PYTHON=/path/to/python3'
}

fail() {
    printf '%s Nothing outside .venv was changed.\n%s\n' "$1" "$2" >&2
    exit 2
}

main
