#!/bin/sh
# Enables what Debian's packages leave disabled.
set -eu

systemctl enable systemd-networkd.service systemd-resolved.service
