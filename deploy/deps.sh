#!/bin/sh
# deps.sh - install what awq is built from, tested with and checked by.
#
#   deploy/deps.sh build    compilers and libraries
#   deploy/deps.sh run      build, and the Redis server of the demo
#   deploy/deps.sh test     run, and the servers, Python and Node modules of the tests
#   deploy/deps.sh check    test, and the analysers
#   deploy/deps.sh          all of them
#
# Debian 12 and 13. What is there is left alone: with nothing missing this asks dpkg once and ends,
# and needs neither root nor the network. hiredis (>= 1.2: TLS, RESP3) and yyjson are the system's
# where they are new enough; on Debian 12 they are built from Debian 13's source packages, whose
# signatures apt checks, into .deps/ (DEPS_DIR). No repository is added to the machine.
# Node >= 20.12 likewise: the system's, or npm's node@20 in .deps/; .deps/bin/node is the one to use.
# Ends by writing .deps/flags.mk, the compiler and linker flags that the Makefile includes.
set -eu
cd "$(dirname "$0")/.."

# The tree's Makefile runs this script: its flags (no built-in rules) are not for other people's.
unset MAKEFLAGS MFLAGS MAKELEVEL

DEPS_DIR=${DEPS_DIR:-.deps}
WANT=${1:-all}

BUILD='gcc make pkg-config libuv1-dev libcurl4-openssl-dev libsodium-dev libssl-dev libyaml-dev
    libmicrohttpd-dev libcmocka-dev ca-certificates'
RUN='redis-server'
TEST='nginx openssl python3 python3-pytest python3-pytest-timeout python3-pytest-xdist
    python3-redis python3-msgpack python3-cryptography python3-yaml spin libnss-wrapper libfaketime systemd procps buildah debootstrap
    chromium chromium-driver'
CHECK='clang libclang-rt-dev clang-format clang-tidy cppcheck shellcheck valgrind libc6-dbg'

say() { echo "deps: $*"; }
die() { echo "deps: $*" >&2; exit 1; }

# ---- which packages ---------------------------------------------------------------------------

# shellcheck source=/dev/null
[ -r /etc/os-release ] && . /etc/os-release
case "${ID:-}:${VERSION_ID:-}" in
debian:12)
    BUILD="$BUILD libmsgpack-dev"
    from_source='dpkg-dev' ;;
*)
    BUILD="$BUILD libmsgpack-c-dev libhiredis-dev libyyjson-dev"
    from_source='' ;;
esac

case $WANT in
build) packages=$BUILD ;;
run) packages="$BUILD $RUN" ;;
test) packages="$BUILD $RUN $TEST" ;;
check | all) packages="$BUILD $RUN $TEST $CHECK" ;;
*) die "unknown group '$WANT'; see the head of deploy/deps.sh" ;;
esac

# ---- apt --------------------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "root is needed to install packages; as root: apt-get install $missing"
    fi
}

missing_of() { # the named packages that are not installed
    for p in "$@"; do
        [ -n "$p" ] || continue
        case "$installed" in *" $p "*) ;; *) printf '%s ' "$p" ;; esac
    done
}

# Installing must not leave a Redis or a web server running on somebody's machine: the tests start
# their own. policy-rc.d is how Debian asks (invoke-rc.d(8)); where one exists, it decides.
install_packages() {
    say "installing $missing"
    policy=
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=$(mktemp)
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        as_root install -m 755 "$policy" /usr/sbin/policy-rc.d
    fi
    rc=0
    # shellcheck disable=SC2086 # a list of package names
    { as_root apt-get -qq -o DPkg::Lock::Timeout=300 update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
            install --no-install-recommends $missing >"$DEPS_DIR/apt.log" 2>&1; } || rc=$?
    if [ -n "$policy" ]; then
        as_root rm -f /usr/sbin/policy-rc.d
        rm -f "$policy"
    fi
    if [ "$rc" -ne 0 ]; then
        tail -20 "$DEPS_DIR/apt.log" >&2 || true
        die "apt-get failed; its log is $DEPS_DIR/apt.log"
    fi
    # Nor at the next boot, if it was us who brought them.
    if [ -d /run/systemd/system ]; then
        for p in redis-server nginx; do
            case " $missing " in *" $p "*) as_root systemctl -q disable "$p" || true ;; esac
        done
    fi
}

command -v dpkg-query >/dev/null || die "this needs Debian's dpkg; README.md lists the libraries"
mkdir -p "$DEPS_DIR"

# shellcheck disable=SC2046,SC2016,SC2086
installed=" $(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages $from_source 2>/dev/null |
    awk '$2 == "installed" { printf "%s ", $1 }')"
# shellcheck disable=SC2086
missing=$(missing_of $packages)

# Node runs the test peers. Its npm comes with it, except in Debian's packaging.
want_node=
case $WANT in
test | check | all)
    want_node=y
    command -v npm >/dev/null || missing="$missing npm" ;;
esac

has_hiredis() { pkg-config --atleast-version=1.2 hiredis hiredis_ssl 2>/dev/null; }
has_yyjson() { pkg-config --atleast-version=0.8 yyjson 2>/dev/null; }
need_source=
if [ -n "$from_source" ]; then
    has_hiredis || [ -e "$DEPS_DIR/lib/libhiredis_ssl.a" ] || need_source="$need_source hiredis"
    has_yyjson || [ -e "$DEPS_DIR/lib/libyyjson.a" ] || need_source="$need_source yyjson"
    # shellcheck disable=SC2086
    [ -z "$need_source" ] || missing="$missing$(missing_of $from_source)"
fi
[ -z "$missing" ] || install_packages

# ---- hiredis and yyjson from source, where the system's are too old ------------------------------

HIREDIS=1.2.0
HIREDIS_SHA=82ad632d31ee05da13b537c124f819eb88e18851d9cb0c30ae0552084811588c
YYJSON=0.10.0
YYJSON_SHA=ae6fde69a193e10afab426ef13f113d6903446405f9db9ee98bfb572bd6c961a

# An apt of its own, with its own lists, that knows Debian 13's sources only.
source_apt() {
    apt-get -o Dir::Etc::SourceList="$tmp/s.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$tmp/lists" -o Dir::Cache="$tmp/cache" \
        -o Acquire::Languages=none -o APT::Sandbox::User=root -qq "$@"
}

fetch_source() { # NAME FILE SHA256: unpacked into $tmp/w/NAME
    (cd "$tmp/w" && source_apt source --download-only --tar-only "$1" >/dev/null) ||
        die "$1: its source package could not be fetched; see the lines above"
    echo "$3  $tmp/w/$2" | sha256sum --quiet -c - ||
        die "$2 is not the file this tree was tested with"
    mkdir "$tmp/w/$1"
    tar -C "$tmp/w/$1" --strip-components=1 -xf "$tmp/w/$2"
}

build_hiredis() {
    say "building hiredis $HIREDIS into $DEPS_DIR"
    fetch_source hiredis "hiredis_$HIREDIS.orig.tar.gz" $HIREDIS_SHA
    # LIBRARY_PATH: hiredis's Makefile takes the variable of the compiler for one of its own.
    make -s -C "$tmp/w/hiredis" static USE_SSL=1 OPTIMIZATION='-O2 -fPIE' \
        LIBRARY_PATH=lib >"$tmp/hiredis.log" 2>&1 || { cat "$tmp/hiredis.log" >&2; die "hiredis: build failed"; }
    mkdir -p "$DEPS_DIR/include/hiredis/adapters" "$DEPS_DIR/lib"
    cp "$tmp/w/hiredis"/*.h "$DEPS_DIR/include/hiredis/"
    cp "$tmp/w/hiredis"/adapters/libuv.h "$DEPS_DIR/include/hiredis/adapters/"
    cp "$tmp/w/hiredis"/libhiredis.a "$tmp/w/hiredis"/libhiredis_ssl.a "$DEPS_DIR/lib/"
}

build_yyjson() {
    say "building yyjson $YYJSON into $DEPS_DIR"
    fetch_source yyjson "yyjson_$YYJSON+ds.orig.tar.xz" $YYJSON_SHA
    mkdir -p "$DEPS_DIR/include" "$DEPS_DIR/lib"
    cp "$tmp/w/yyjson/src/yyjson.h" "$DEPS_DIR/include/"
    gcc -O2 -fPIE -c -o "$tmp/yyjson.o" "$tmp/w/yyjson/src/yyjson.c"
    rm -f "$DEPS_DIR/lib/libyyjson.a"
    ar rcs "$DEPS_DIR/lib/libyyjson.a" "$tmp/yyjson.o"
}

if [ -n "$need_source" ]; then
    # shellcheck disable=SC2016 # apt expands it
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        "Codename: $VERSION_CODENAME" 'Label: Debian' | sort -u | head -1)
    [ -n "$mirror" ] || die "no Debian mirror is configured; needed are hiredis >= 1.2, yyjson >= 0.8"
    tmp=$(mktemp -d)
    trap 'rm -rf "$tmp"' EXIT
    mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/w"
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" \
        >"$tmp/s.list"
    source_apt update
    case $need_source in *hiredis*) build_hiredis ;; esac
    case $need_source in *yyjson*) build_yyjson ;; esac
fi

# ---- Node and its packages -----------------------------------------------------------------------

node_is_new() { # PROGRAM
    "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number);
        process.exit(a > 20 || (a === 20 && b >= 12) ? 0 : 1)' 2>/dev/null
}

quiet_npm() {
    npm "$@" --no-audit --no-fund --loglevel=error >"$DEPS_DIR/npm.log" 2>&1 || {
        tail -20 "$DEPS_DIR/npm.log" >&2
        die "npm $1 failed; its log is $DEPS_DIR/npm.log"
    }
}

install_node() {
    node=$(command -v node || true)
    if [ -z "$node" ] || ! node_is_new "$node"; then
        say "installing node 20 into $DEPS_DIR"
        mkdir -p "$DEPS_DIR/node"
        quiet_npm install --prefix "$DEPS_DIR/node" node@20
        node=$(pwd)/$DEPS_DIR/node/node_modules/node/bin/node
        node_is_new "$node" || die "npm's node@20 does not run here"
    fi
    mkdir -p "$DEPS_DIR/bin"
    ln -sf "$node" "$DEPS_DIR/bin/node"
}

if [ -n "$want_node" ]; then
    [ -x "$DEPS_DIR/bin/node" ] || install_node
    if [ ! -e tests/node_modules/.package-lock.json ] ||
        [ -n "$(find tests/package-lock.json -newer tests/node_modules/.package-lock.json)" ]; then
        say "installing the Node packages of the tests"
        quiet_npm ci --prefix tests --ignore-scripts
        touch tests/node_modules/.package-lock.json
    fi
fi

# ---- the flags that the Makefile includes ---------------------------------------------------------

pc="libuv libcurl libsodium yaml-0.1 libmicrohttpd libssl libcrypto"
if pkg-config --exists msgpack-c; then pc="msgpack-c $pc"; else pc="msgpack $pc"; fi
cflags="-isystem $DEPS_DIR/include"
libs=
if has_hiredis; then pc="hiredis_ssl hiredis $pc"; else libs="$libs $DEPS_DIR/lib/libhiredis_ssl.a $DEPS_DIR/lib/libhiredis.a"; fi
if has_yyjson; then pc="yyjson $pc"; else libs="$libs $DEPS_DIR/lib/libyyjson.a"; fi
# shellcheck disable=SC2086
{
    echo "# written by deploy/deps.sh"
    echo "DEPS_CFLAGS := $cflags $(pkg-config --cflags $pc)"
    echo "DEPS_LIBS := $libs $(pkg-config --libs $pc)"
    echo "CMOCKA_LIBS := $(pkg-config --libs cmocka)"
} >"$DEPS_DIR/flags.mk.new"
if cmp -s "$DEPS_DIR/flags.mk.new" "$DEPS_DIR/flags.mk"; then
    touch "$DEPS_DIR/flags.mk"
    rm "$DEPS_DIR/flags.mk.new"
else
    mv "$DEPS_DIR/flags.mk.new" "$DEPS_DIR/flags.mk"
fi
