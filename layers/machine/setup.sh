#!/bin/sh
# Puts an answer in the place of apt, and makes where the ESP is mounted and GRUB's core image, which an exported disk
# carries for BIOS.
set -eu

# By dpkg-divert also those who call them by their full path get the answer. A machine without aptitude has no link
# 'aptitude' that would lead to its program.
mkdir -p /usr/lib/layerset/real
for program in apt apt-get aptitude-curses; do
    dpkg-divert --quiet --local --rename --divert "/usr/lib/layerset/real/$program" --add "/usr/bin/$program"
    ln -s ../lib/layerset/apt "/usr/bin/$program"
done

mkdir -p /boot/efi

# Everything that differs between disks stands in a file on the disk, so that this image is the same for all of them.
out=/usr/lib/layerset/boot/i386-pc
work=$(mktemp -d)
mkdir -p "$out" "$work/boot/grub"
cp /usr/lib/layerset/boot/find.cfg "$work/boot/grub/grub.cfg"
tar --create --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 \
    --file "$work/memdisk.tar" --directory "$work" boot/grub/grub.cfg
# When GRUB starts, $root is the disk that it was started from. Its first parser knows no comments. --memdisk sets a
# prefix, so --prefix has to come behind it.
cat >"$work/early.cfg" <<'EOF'
set disk=$root
export disk
set prefix=(memdisk)/boot/grub
EOF
grub-mkimage --format=i386-pc --memdisk="$work/memdisk.tar" --prefix=/boot/grub --config="$work/early.cfg" \
    --output="$out/core.img" \
    biosdisk boot configfile echo ext2 fat linux loadenv lvm memdisk minicmd normal part_gpt part_msdos reboot regexp search \
    search_fs_uuid serial sleep tar terminal test
cp /usr/lib/grub/i386-pc/boot.img "$out/boot.img"
rm -r "$work"
