#!/usr/bin/env bash
# scripts/inject.py on file systems of several kinds, each in a file that is mounted by a loop device.
#
# In: a machine where root may mount, kinds of file systems (all by default). Out: a line a kind; exit status 1 if any promise is
# broken, or a kind that was named cannot be mounted. A kind that this machine lacks is said to be missing, and is no success.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${BIN:-target/release/bnfold-gpu}
folder=$(mktemp -d)
mkdir "$folder/mount"
trap 'umount -q "$folder/mount" || true; rm -rf "$folder"' EXIT
failed=0

mount_kind() {
    rm -f "$folder/image"
    truncate -s 512M "$folder/image"
    case $1 in
        tmpfs) mount -t tmpfs tmpfs "$folder/mount" ;;
        exfat) # By FUSE: the kernel's own is not everywhere.
            mkfs.exfat "$folder/image" >/dev/null && device=$(losetup -f --show "$folder/image") &&
                mount.exfat-fuse "$device" "$folder/mount" >/dev/null ;;
        overlay)
            mkdir -p "$folder/lower" "$folder/upper" "$folder/work"
            mount -t tmpfs tmpfs "$folder/upper" && mkdir "$folder/upper/u" "$folder/upper/w" &&
                mount -t overlay -o "lowerdir=$folder/lower,upperdir=$folder/upper/u,workdir=$folder/upper/w" overlay "$folder/mount" ;;
        *) "mkfs.$1" -q "$folder/image" && mount -o loop "$folder/image" "$folder/mount" ;;
    esac
}

unmount_kind() {
    umount "$folder/mount"
    if [ "$1" = overlay ]; then umount "$folder/upper"; fi
    if [ "$1" = exfat ]; then losetup -d "$device"; fi
}

for kind in "${@:-ext4 xfs btrfs tmpfs overlay exfat}"; do
    for kind in $kind; do
        if ! mount_kind "$kind" 2>"$folder/error"; then
            echo "$kind: missing here: $(tail -1 "$folder/error")"
            if [ $# -gt 0 ]; then failed=1; fi
            continue
        fi
        options=()
        if [ "$kind" = exfat ]; then options=(--linkless); fi
        said=$(python3 scripts/inject.py --bin "$bin" --work "$folder/mount" "${options[@]}" 2>/dev/null) || failed=1
        echo "$kind: $said"
        unmount_kind "$kind"
    done
done
exit $failed
