#!/bin/sh
# Creates hello's user, enables its unit, and gives port 80 to its site.
set -eu

systemd-sysusers hello.conf
systemctl enable hello.service
rm /etc/nginx/sites-enabled/default

# A mistake in either file fails the build, not the machine.
perl -wc /usr/lib/hello/hello
nginx -t -q
# The test made nginx's working directories, which are nginx's to make.
find /var/lib/nginx -mindepth 1 -type d -empty -delete
