#!/bin/sh
# Turns a freshly installed PostgreSQL into one whose data is made on the machine.
set -eu

# Maintainer scripts of later versions must not make a cluster during a build.
conf=/etc/postgresql-common/createcluster.conf
sed -i 's/^#\{0,1\}create_main_cluster *=.*/create_main_cluster = false/' "$conf"
grep -qx 'create_main_cluster = false' "$conf"

found=
for settings in /etc/postgresql/*/*/postgresql.conf; do
    [ -e "$settings" ] || break
    cluster=${settings#/etc/postgresql/}
    cluster=${cluster%/postgresql.conf}
    rm -rf "/var/lib/postgresql/${cluster:?}"
    found=1
done
if [ -z "$found" ]; then
    echo "setup.sh: installation made no cluster, so there are no settings to keep" >&2
    exit 1
fi

# The name of this link is a hash of the certificate's, which names the machine; the command that makes the secret
# makes the link too.
find /etc/ssl/certs -lname ssl-cert-snakeoil.pem -delete
