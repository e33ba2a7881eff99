#!/bin/sh
# Makes a Debian package of target/release/layerset: target/deb/layerset_VERSION_ARCH.deb. Where
# CARGO_TARGET_DIR is set, that is the directory in place of target.
#
# usage: scripts/deb.sh              make it
#        scripts/deb.sh --try SUITE  install it in a fresh root of SUITE, build an image there, remove it
#   MAINTAINER='Name <address>'  whom the package names [default: what git is configured with]
#
# Trying needs root, mmdebstrap and the network.
set -eu

cd "$(dirname "$0")/.."

fail() { printf 'deb: %s\n' "$*" >&2; exit 1; }

version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)
arch=$(dpkg --print-architecture)
# The revision of the package: the program has its own history, and the package one line.
debian=$version-1
target=${CARGO_TARGET_DIR:-target}
package=$target/deb/layerset_${debian}_$arch.deb
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

make_package() {
    [ -x "$target/release/layerset" ] || fail "there is no $target/release/layerset; run 'make' first"
    maintainer=${MAINTAINER:-$(git config user.name || :) <$(git config user.email || :)>}
    case $maintainer in
    *?" <"?*@?*">") ;;
    *) fail "whom does the package name? set MAINTAINER='Name <address>'" ;;
    esac
    root=$work/root
    umask 022
    make --no-print-directory --silent install DESTDIR="$root" PREFIX=/usr UNITDIR=/usr/lib/systemd/system
    find "$root/usr/share/man" -type f -exec gzip -9n {} +
    install -d "$root/etc/layerset"

    doc=$root/usr/share/doc/layerset
    install -d "$doc" "$root/usr/share/lintian/overrides" "$root/DEBIAN"
    install -m 0644 README.md "$doc/README.md"
    gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
    # The same program gives the same package.
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
    export SOURCE_DATE_EPOCH
    {
        printf 'layerset (%s) unstable; urgency=medium\n\n' "$debian"
        printf '  * The program as it is: changelog.gz says what changed.\n\n'
        printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date --utc --date="@$SOURCE_DATE_EPOCH" -R)"
    } | gzip -9n >"$doc/changelog.Debian.gz"
    {
        printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
        printf 'Upstream-Name: layerset\nSource: the source that this package was made from\n\n'
        printf 'Files: *\nCopyright: 2026 the layerset authors\nLicense: Apache-2.0 or Expat\n\n'
        printf 'License: Apache-2.0\n On Debian systems: /usr/share/common-licenses/Apache-2.0\n\n'
        printf 'License: Expat\n'
        sed -n '/^MIT License$/,/^====/p' LICENSE | sed '/^====/d; /^$/s/^$/./; s/^/ /'
    } >"$doc/copyright"
    # The crates that the program is made of are compiled into it, as Rust does it.
    printf 'layerset: embedded-library\n' >"$root/usr/share/lintian/overrides/layerset"

    # dpkg-shlibdeps wants a source package around it.
    install -d "$work/debian"
    printf 'Source: layerset\n\nPackage: layerset\nArchitecture: any\n' >"$work/debian/control"
    libraries=$(cd "$work" && dpkg-shlibdeps -O root/usr/bin/layerset 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
    [ -n "$libraries" ] || fail "dpkg-shlibdeps names no library"
    size=$(du -k -s "$root/usr" | cut -f 1)
    # What a machine needs that only takes images is in Depends; what building needs is recommended.
    cat >"$root/DEBIAN/control" <<CONTROL
Package: layerset
Version: $debian
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $size
Section: admin
Priority: optional
Depends: $libraries, ca-certificates
Recommends: apt, bubblewrap, debian-archive-keyring, mmdebstrap
Suggests: btrfs-progs, systemd, xfsprogs
Description: operating-system images in layers, updated one layer at a time
 layerset builds images of Debian from layers, each a commit to a filesystem,
 and composes them by three-way merge. When the base changes, the layers above
 stay as they are where the checks prove that they hold.
 .
 A deployment is switched by one rename, and switched back by another. Signed
 channels bring images to machines, which fetch the difference only. An image
 can become a disk that boots, in the formats of the usual clouds.
 .
 The recommended packages are needed to build images, not to take them.
CONTROL
    (cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    mkdir -p "$target/deb"
    find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
    echo "made $package"
}

# The root has what Debian has, and nothing of this machine but its clock and its network.
try_package() {
    [ "$(id -u)" = 0 ] || fail "--try needs root"
    [ -f "$package" ] || fail "there is no $package; run 'make deb' first"
    try=$work/try
    mmdebstrap --quiet --variant=apt "$1" "$try"
    cp "$package" "$try/root/layerset.deb"
    cat >"$try/root/try.sh" <<'TRY'
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q install --yes /root/layerset.deb
layerset --version
# The manual and the completions work where a person looks for them.
apt-get -q install --yes man-db bash-completion >/dev/null
for page in '1 layerset' '5 layerset-layer.toml' '7 layerset' '1 layerset-export-disk'; do
    MANPAGER=cat MANWIDTH=80 man $page | grep -q '^NAME' || { echo "no page: $page" >&2; exit 1; }
done
bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader layerset || :
    complete -p layerset'
cd /root
layerset init
layerset new layer debian --base trixie
layerset new layer shop
layerset new recipe small debian shop
layerset lock recipes/small.toml
layerset build recipes/small.toml
layerset deploy small --target /srv/small --copy
cat /srv/small/layerset/current/root/usr/share/shop/README
# What it installed goes; what it made stays.
dpkg -L layerset | sort >/root/installed
apt-get -q purge --yes layerset
left=$(while read -r file; do
    if [ -f "$file" ] || [ -h "$file" ]; then echo "$file"; fi
done </root/installed)
[ -z "$left" ] || { echo "removal leaves: $left" >&2; exit 1; }
[ ! -e /usr/bin/layerset ] && [ -d /var/lib/layerset/objects ]
TRY
    # In namespaces of its own, so that nothing stays mounted.
    unshare --mount --pid --fork sh -eu -c '
        mount --bind "$1" "$1"
        mount -t proc proc "$1/proc"
        mount --rbind /sys "$1/sys"
        mount --rbind /dev "$1/dev"
        exec chroot "$1" sh /root/try.sh' sh "$try"
    echo "layerset installs, builds and goes away again on $1"
}

case ${1:-} in
"") make_package ;;
--try) [ $# = 2 ] || fail "--try wants a suite"; try_package "$2" ;;
*) fail "unknown argument '$1'" ;;
esac
