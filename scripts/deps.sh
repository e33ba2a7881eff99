#!/bin/sh
# Makes sure that what building, testing and running layerset needs is there.
#
# usage: scripts/deps.sh [bench|fuzz]    for `make bench` and `make fuzz`, which need more
#
# As root, installs the Debian packages that are missing; else names them and fails. Does nothing when none is.
set -eu

cd "$(dirname "$0")/.."

# To build.
packages="gcc libc6-dev libssl-dev libzstd-dev pkg-config"
# To run: bootstrap, packages, sandbox, mounts.
packages="$packages apt-utils bubblewrap debian-archive-keyring dpkg-dev iproute2 mmdebstrap mount util-linux"
# To test, to measure and for the demo: real counterparts, other filesystems, and a client.
packages="$packages age apache2-utils bind9-utils cryptsetup-bin openssh-client putty-tools whois wireguard-tools"
packages="$packages default-jre-headless krb5-user openvpn"
packages="$packages binutils curl docker-registry dosfstools e2fsprogs erofs-utils fdisk file gnupg jq lvm2 mandoc mtools openssl ostree patchelf python3 time xfsprogs xz-utils zstd"

# To boot images: a machine, the firmware of both kinds, and readers of what is on a disk.
machine="mtools ovmf qemu-system-x86 qemu-utils seabios"
packages="$packages $machine"

case ${1:-} in
bench) packages="$packages bsdiff casync docker-registry python3 skopeo xdelta3" ;; # peers, and the link
fuzz) packages="$packages g++" ;; # libFuzzer is built from source
esac

fail() { printf 'deps: %s\n' "$*" >&2; exit 1; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

install() { apt-get -q install --yes --no-install-recommends "$@"; }

# The packages of QEMU break those of another version. Where qemu-utils came from the backports, the release's own
# emulator is refused, so the backports are looked at for this one command. Their address is that of the release.
install_qemu() {
    # shellcheck disable=SC2086 # a list of words
    if apt-get -q --simulate install --no-install-recommends $machine >/dev/null 2>&1; then
        return 0 # they come with the others
    fi
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016 # apt fills these in
    archive=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk -v release="$release" '$2 == release && $3 == "main" { print $1; exit }')
    [ -n "$archive" ] || fail "apt cannot install '$machine', and names no archive of '$release' that could have backports"
    parts=$(mktemp -d)
    cp /etc/apt/sources.list.d/* "$parts" 2>/dev/null || :
    cat >"$parts/layerset-backports.sources" <<EOF
Types: deb
URIs: $archive
Suites: $release-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
    chmod -R a+rX "$parts" # apt fetches as a user of its own
    echo "deps: qemu-utils is $(dpkg-query -W -f '${Version}' qemu-utils 2>/dev/null); taking QEMU from $release-backports"
    apt-get -q -o Dir::Etc::sourceparts="$parts" update
    # shellcheck disable=SC2086 # a list of words
    install -o Dir::Etc::sourceparts="$parts" --target-release "$release-backports" $machine || qemu_failed=1
    rm -r "$parts"
    [ -z "${qemu_failed:-}" ] || fail "QEMU cannot be installed from $release-backports either"
}

command -v dpkg-query >/dev/null ||
    fail "layerset is built and tested on Debian; elsewhere, install the counterparts of: $packages"

missing=
for package in $packages; do
    installed "$package" || missing="$missing $package"
done
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || fail "missing packages; run: sudo apt-get install$missing"
    echo "deps: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    case $missing in *qemu-*) install_qemu ;; esac
    # shellcheck disable=SC2086 # a list of words
    install $missing
fi

# The version that Cargo.toml asks for, so that it is said in one place.
wanted=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml)
[ -n "$wanted" ] || fail "Cargo.toml names no rust-version"
for tool in cargo rustc; do
    command -v $tool >/dev/null ||
        fail "'$tool' is missing: install Rust $wanted or newer with rustup, and put ~/.cargo/bin on PATH"
done
found=$(rustc --version | sed -n 's/^rustc \([0-9.]*\).*/\1/p')
oldest=$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)
[ "$oldest" = "$wanted" ] || fail "rustc is $found, but $wanted or newer is needed: run 'rustup update stable'"
