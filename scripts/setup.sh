#!/usr/bin/env bash
# Brings a fresh Debian 12 to where `cargo build` works: a C compiler from Debian, and the pinned Rust toolchain from rustup. With
# the word `broker` also to where a Kafka broker can be fetched and started, which tests and `make kafka` do.
# What is missing is installed when it may be (root, or sudo without a password), and otherwise named with the one command that
# installs it. Says nothing when nothing is missing. Debian's own cargo is too old for this edition, so it is not an alternative.
#
#   scripts/setup.sh [broker] [plug] [counter] [clock] [peers]
#
# `plug` is the emulated machine of `make torture`. `counter` is what the tests count instructions with, `clock` what makes a clock
# lie to the node, `peers` what the bench runs beside the node. These three are not needed to build: what cannot be installed is
# named, and its part is left out.
set -euo pipefail
cd "$(dirname "$0")/.."

# Whether a word was given.
asked() { case " $words " in *" $1 "*) ;; *) return 1 ;; esac; }
words=$*

# Runs as root when it may; tells the command and gives up when it may not.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# What is missing, as Debian's packages.
packages=()
if ! echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1; then
    packages+=(gcc libc6-dev) # zstd and mimalloc are C
fi
# librdkafka is built from its sources by make, and speaks TLS with the system's OpenSSL.
command -v make >/dev/null || packages+=(make)
command -v pkg-config >/dev/null || packages+=(pkg-config)
if ! echo '#include <openssl/ssl.h>' | cc -E - >/dev/null 2>&1; then
    packages+=(libssl-dev)
fi
if asked broker; then
    command -v java >/dev/null || packages+=(default-jre-headless)
    command -v mvn >/dev/null || packages+=(maven)
    command -v openssl >/dev/null || packages+=(openssl)
    python3 -m venv --help >/dev/null 2>&1 || packages+=(python3-venv) # a reader with a real client library
fi
if asked plug; then
    command -v debootstrap >/dev/null || packages+=(debootstrap)
    command -v qemu-system-x86_64 >/dev/null || packages+=(qemu-system-x86)
    command -v mke2fs >/dev/null || packages+=(e2fsprogs)
fi
export PATH="$HOME/.cargo/bin:$PATH"
if ! command -v rustup >/dev/null && ! command -v curl >/dev/null; then
    packages+=(curl ca-certificates) # rustup's installer comes by https
fi

if [ "${#packages[@]}" -gt 0 ]; then
    echo "setup: missing here: ${packages[*]}"
    install="apt-get install -y --no-install-recommends ${packages[*]}"
    if ! command -v apt-get >/dev/null; then
        echo "setup: this is not Debian; install what these Debian packages bring: ${packages[*]}" >&2
        exit 69
    fi
    # shellcheck disable=SC2086
    if ! { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive $install; } </dev/null; then
        echo "setup: could not install them from here. Run this once:" >&2
        echo "    sudo apt-get update && sudo $install" >&2
        exit 69
    fi
fi

# What is good to have: the tests say `not checked` and the bench leaves a peer out where it is missing.
wanted=()
if asked counter; then
    command -v valgrind >/dev/null || wanted+=(valgrind)
fi
if asked clock; then
    command -v faketime >/dev/null || wanted+=(faketime)
fi
if asked peers; then
    compgen -G '/usr/lib/postgresql/*/bin/pgbench' >/dev/null || wanted+=(postgresql)
    { command -v redis-server && command -v redis-benchmark; } >/dev/null || wanted+=(redis-server redis-tools)
fi
if [ "${#wanted[@]}" -gt 0 ]; then
    echo "setup: good to have, and missing here: ${wanted[*]}"
    install="apt-get install -y --no-install-recommends ${wanted[*]}"
    # shellcheck disable=SC2086
    if ! command -v apt-get >/dev/null ||
        ! { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive $install; } </dev/null; then
        echo "setup: could not install them from here; what needs them is left out. This brings them:" >&2
        echo "    sudo apt-get update && sudo $install" >&2
    fi
fi

if ! command -v rustup >/dev/null; then
    echo "setup: rustup is missing; installing it into $HOME/.cargo"
    if ! curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
        sh -s -- -y --no-modify-path --profile minimal --default-toolchain none </dev/null; then
        echo "setup: could not install rustup. Run this once:" >&2
        echo "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal" >&2
        exit 69
    fi
fi

channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
if ! rustup run "$channel" cargo clippy --version >/dev/null 2>&1 || ! rustup run "$channel" rustfmt --version >/dev/null 2>&1; then
    echo "setup: installing Rust $channel"
    if ! rustup toolchain install "$channel" --profile minimal --component clippy --component rustfmt --no-self-update </dev/null; then
        echo "setup: could not install it. Run this once, where the network reaches static.rust-lang.org:" >&2
        echo "    rustup toolchain install $channel --profile minimal --component clippy --component rustfmt" >&2
        exit 69
    fi
fi
