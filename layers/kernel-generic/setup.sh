#!/bin/sh
# Removes the links that installation made before kernel-img.conf was there, and looks whether the kernel can boot.
set -eu

rm -f /vmlinuz /vmlinuz.old /initrd.img /initrd.img.old

for kernel in /boot/vmlinuz-*; do
    version=${kernel#/boot/vmlinuz-}
    for part in "$kernel" "/boot/initrd.img-$version" "/usr/lib/modules/$version/modules.dep"; do
        [ -s "$part" ] || { echo "setup.sh: there is no '$part'" >&2; exit 1; }
    done
done
