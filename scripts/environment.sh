# Sourced by the other scripts: makes the virtual environment in the checkout, once, at the versions of the lock file.
# Needs only Python 3.11 or newer; after the first run it needs no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "${0##*/}: $*" >&2; exit 69; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed; install it, or name it: PYTHON=/path/to/python3 $0"
}

make_environment() {
    local python stamp wanted
    python="$(find_python)" || exit
    stamp=.venv/.made-from
    # The interpreter and the checkout's place belong to it: an environment that moved is made anew.
    wanted="$("$python" -c 'import sys; print(sys.version_info[:2])') $PWD $(cat requirements.lock pyproject.toml | cksum)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    echo "Setting up .venv (once; some 50 packages) ..." >&2
    rm -rf .venv
    if ! "$python" -m venv .venv 2>.venv-error; then
        cat .venv-error >&2; rm -f .venv-error
        fail "Python can't make a virtual environment; on Debian: apt-get install python3-venv"
    fi
    rm -f .venv-error
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock ||
        fail "the packages could not be installed; is there a network, or a proxy to set (HTTPS_PROXY)?"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
    echo "$wanted" >"$stamp"
}

make_environment
