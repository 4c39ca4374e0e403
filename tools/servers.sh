#!/bin/sh
# Installs the real servers that the tests start themselves, where they are missing; with everything there it does
# nothing and needs no rights. The tests use their own instances on free ports, never a service of the machine.
set -eu
cd "$(dirname "$0")/.."

main() {
    missing=$(list_missing)
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null 2>&1 ||
        stop "this machine has no apt-get: install what your system calls $missing"
    if [ "$(id -u)" = 0 ]; then
        install_missing env
    elif sudo -n true 2>/dev/null; then
        install_missing sudo -n
    else
        stop "sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends $missing'"
    fi
    missing=$(list_missing)
    [ -z "$missing" ] || stop "apt-get was run, yet these are still not found: $missing"
}

# Names the Debian packages that are missing, in one line.
list_missing() {
    {
        has_program mariadbd && has_program mariadb-install-db || echo mariadb-server
        has_program mosquitto || echo mosquitto
        has_program redis-server || echo redis-server
        has_program chromium || echo chromium
        .venv/bin/python -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("zbar"))' || echo libzbar0
    } | tr '\n' ' ' | sed 's/ $//'
}

# Debian keeps servers in /usr/sbin, which an ordinary user's PATH leaves out.
has_program() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]
}

# "$@" is how to become root. Another process may hold apt's lock for a while.
install_missing() {
    echo "Installing for the tests: $missing"
    "$@" apt-get -o DPkg::Lock::Timeout=300 -qq update ||
        echo 'The package lists could not be renewed; trying with those at hand.' >&2
    # shellcheck disable=SC2086 # One word for each package.
    "$@" env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends $missing >/dev/null ||
        stop "apt-get could not install: $missing"
}

stop() {
    printf 'The tests run against real servers, and some are missing; no test was run.\nNext: %s\n' "$1" >&2
    exit 2
}

main
