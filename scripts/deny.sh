#!/usr/bin/env bash
# Licences, bans, sources and advisories of everything that is compiled in, by cargo-deny as deny.toml says. The tool is pinned, and
# built once into target/tools (about a minute on 2 cores; a release build of it would take three times as long and save nothing).
# Exit code 0: all is well; 1: something is refused; 2: something could not be checked, and the last line says what.
set -uo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
tool=target/tools/bin/cargo-deny
if [ "$("$tool" --version 2>/dev/null)" != "cargo-deny $version" ]; then
    echo "deny: building cargo-deny $version into target/tools, once"
    if ! cargo install --quiet --locked --debug --root target/tools --version "$version" cargo-deny </dev/null; then
        echo "not checked: licences and advisories (cargo-deny $version could not be installed)"
        exit 2
    fi
fi

"$tool" --log-level warn check licenses bans sources </dev/null || exit 1

# The advisories live on GitHub, and a machine that cannot reach it checks against its last copy, or says that it has none.
if timeout 120 "$tool" --log-level error fetch db </dev/null >/dev/null 2>&1; then
    "$tool" --log-level warn check --disable-fetch advisories </dev/null || exit 1
elif compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/crates" >/dev/null; then
    "$tool" --log-level warn check --disable-fetch advisories </dev/null || exit 1
    echo "not checked: advisories newer than the last copy of the database (github.com is out of reach)"
    exit 2
else
    echo "not checked: advisories (the database on github.com is out of reach)"
    exit 2
fi
