//! What a command in the sandbox may ask of the kernel: a filter of system calls, the capabilities of
//! a usual container, and what of `/proc` is closed.
//!
//! A build is root, and so it would be for the kernel: `/proc/sys/kernel/core_pattern` names a program
//! that the host runs as root, whoever writes it. Three fences stand one behind the other. The
//! settings are mounted read-only; the capability that could mount them again is gone; and the calls
//! that mount, load modules, or make a namespace in which all capabilities are back are refused with
//! `EPERM`, as on a kernel that does not allow them.
//!
//! Sources: `seccomp(2)`, `linux/seccomp.h`, `linux/audit.h`, the numbers of `asm/unistd.h`, and the
//! default profile of Docker for what a container can do without.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags};

/// The capabilities that installing packages takes: those of a usual container. What reaches beyond
/// the sandbox (`CAP_SYS_ADMIN`, `CAP_SYS_MODULE`, `CAP_SYS_RAWIO`, `CAP_SYS_TIME`, `CAP_NET_ADMIN`
/// and others) is not among them. Devices that `CAP_MKNOD` makes cannot be opened: bubblewrap mounts
/// the view `nodev`.
pub(super) const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
/// What is read-only, where it is there.
const READ_ONLY: [&str; 6] = [
    "/proc/sys",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/sysrq-trigger",
    "/proc/scsi",
];
/// What shows nothing, where it is there: memory, keys and messages of the host.
const HIDDEN: [&str; 7] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
];
const HIDDEN_DIRS: [&str; 1] = ["/proc/acpi"];

/// Returns the arguments for bubblewrap that close the host's settings and drop capabilities.
pub(super) fn arguments() -> Vec<&'static str> {
    let mut all = Vec::new();
    let is_there = |path: &&str| Path::new(path).exists();
    for path in READ_ONLY.into_iter().filter(is_there) {
        all.extend(["--ro-bind", path, path]);
    }
    for path in HIDDEN.into_iter().filter(is_there) {
        all.extend(["--ro-bind", "/dev/null", path]);
    }
    for path in HIDDEN_DIRS.into_iter().filter(is_there) {
        all.extend(["--perms", "0555", "--tmpfs", path, "--remount-ro", path]);
    }
    all.extend(["--cap-drop", "ALL"]);
    for capability in CAPABILITIES {
        all.extend(["--cap-add", capability]);
    }
    all
}

/// The system calls of an architecture.
struct Calls {
    /// Its number, `AUDIT_ARCH_*` in `linux/audit.h`.
    arch: u32,
    /// Calls from this number up belong to another one that shares the architecture's number.
    foreign_from: Option<u32>,
    clone: u32,
    clone3: u32,
    refused: &'static [u32],
}

// acct, add_key, bpf, clock_adjtime, clock_settime, delete_module, finit_module, fsconfig, fsmount,
// fsopen, fspick, init_module, io_uring_enter, io_uring_register, io_uring_setup, ioperm, iopl,
// kexec_file_load, kexec_load, keyctl, lookup_dcookie, mount, mount_setattr, move_mount, nfsservctl,
// open_by_handle_at, open_tree, perf_event_open, pivot_root, quotactl, quotactl_fd, reboot,
// request_key, setdomainname, sethostname, setns, settimeofday, stime, swapoff, swapon, syslog,
// umount, umount2, unshare, userfaultfd, vhangup: as far as an architecture has them.
const X86_64: &[u32] = &[
    103, 153, 155, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 175, 176, 179, 180, 212,
    227, 246, 248, 249, 250, 272, 298, 304, 305, 308, 313, 320, 321, 323, 425, 426, 427, 428, 429,
    430, 431, 432, 433, 442, 443,
];
const I386: &[u32] = &[
    21, 22, 25, 51, 52, 74, 79, 87, 88, 101, 103, 110, 111, 115, 121, 128, 129, 131, 169, 217, 253,
    264, 283, 286, 287, 288, 310, 336, 342, 343, 346, 350, 357, 374, 425, 426, 427, 428, 429, 430,
    431, 432, 433, 442, 443,
];
const GENERIC: &[u32] = &[
    18, 39, 40, 41, 42, 58, 60, 89, 97, 104, 105, 106, 112, 116, 142, 161, 162, 170, 217, 218, 219,
    224, 225, 241, 265, 266, 268, 273, 280, 282, 294, 425, 426, 427, 428, 429, 430, 431, 432, 433,
    442, 443,
];
const ARM: &[u32] = &[];

/// Returns the architectures whose programs this machine runs; none where no table is known.
fn machine(name: &str) -> Vec<Calls> {
    let calls = |arch, clone, refused| Calls {
        arch,
        foreign_from: None,
        clone,
        clone3: 435,
        refused,
    };
    match name {
        "x86_64" => {
            let x32 = Some(0x4000_0000);
            let own = Calls {
                foreign_from: x32,
                ..calls(0xc000_003e, 56, X86_64)
            };
            vec![own, calls(0x4000_0003, 120, I386)]
        }
        "aarch64" => vec![
            calls(0xc000_00b7, 220, GENERIC),
            calls(0x4000_0028, 120, ARM),
        ],
        "riscv64" => vec![calls(0xc000_00f3, 220, GENERIC)],
        _ => Vec::new(),
    }
}

/// An instruction of classic BPF, `linux/filter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
/// Where in `struct seccomp_data` things are.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const FIRST_ARGUMENT_AT: u32 = 16;
const ALLOW: u32 = 0x7fff_0000;
const FAIL: u32 = 0x0005_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID` and `NEWNET`.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

fn plain(code: u16, value: u32) -> Instruction {
    test(code, value, 0, 0)
}

fn test(code: u16, value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction {
        code,
        if_true,
        if_false,
        value,
    }
}

fn program(all: &[Calls]) -> Vec<Instruction> {
    let mut program = vec![plain(LOAD, ARCH_AT)];
    for calls in all {
        let part = part(calls);
        program.push(test(IF_EQUAL, calls.arch, 1, 0));
        program.push(plain(JUMP, u32::try_from(part.len()).unwrap_or(u32::MAX)));
        program.extend(part);
    }
    // Programs of another kind than those whose calls are known.
    program.push(plain(RETURN, FAIL | ENOSYS));
    program
}

/// Returns what decides about calls of one architecture.
fn part(calls: &Calls) -> Vec<Instruction> {
    let mut part = vec![plain(LOAD, NUMBER_AT)];
    let mut answer = |code, number, errno| {
        part.push(test(code, number, 0, 1));
        part.push(plain(RETURN, FAIL | errno));
    };
    if let Some(first) = calls.foreign_from {
        answer(IF_AT_LEAST, first, ENOSYS);
    }
    for number in calls.refused {
        answer(IF_EQUAL, *number, EPERM);
    }
    // Its flags lie in memory, where no filter sees them. The C library falls back to `clone`.
    answer(IF_EQUAL, calls.clone3, ENOSYS);
    part.push(test(IF_EQUAL, calls.clone, 1, 0));
    part.push(plain(RETURN, ALLOW));
    part.push(plain(LOAD, FIRST_ARGUMENT_AT));
    part.push(test(IF_ANY_BIT, NEW_NAMESPACES, 0, 1));
    part.push(plain(RETURN, FAIL | EPERM));
    part.push(plain(RETURN, ALLOW));
    part
}

/// Returns a file that holds the filter for `--seccomp`; `None` on machines whose system calls are
/// not known here, where the other two fences stand alone.
pub(super) fn filter() -> std::io::Result<Option<OwnedFd>> {
    let calls = machine(std::env::consts::ARCH);
    if calls.is_empty() {
        return Ok(None);
    }
    let bytes: Vec<u8> = program(&calls)
        .iter()
        .flat_map(|instruction| {
            let [a, b] = instruction.code.to_ne_bytes();
            let [c, d, e, f] = instruction.value.to_ne_bytes();
            [a, b, instruction.if_true, instruction.if_false, c, d, e, f]
        })
        .collect();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("layerset-filter", flags)?);
    file.write_all(&bytes)?;
    file.rewind()?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK,
    )?;
    Ok(Some(file.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel does.
    fn answer(program: &[Instruction], arch: u32, number: u32, argument: u32) -> u32 {
        let (mut at, mut held) = (0, 0);
        loop {
            let Instruction {
                code,
                if_true,
                if_false,
                value,
            } = program[at];
            at += 1;
            let is_true = match code {
                LOAD => {
                    held = match value {
                        ARCH_AT => arch,
                        NUMBER_AT => number,
                        _ => argument,
                    };
                    continue;
                }
                JUMP => {
                    at += value as usize;
                    continue;
                }
                RETURN => return value,
                IF_EQUAL => held == value,
                IF_AT_LEAST => held >= value,
                _ => held & value != 0,
            };
            at += usize::from(if is_true { if_true } else { if_false });
        }
    }

    #[test]
    fn a_filter_refuses_what_reaches_beyond_the_sandbox_and_nothing_else() {
        const SIGCHLD: u32 = 17;
        for name in ["x86_64", "aarch64", "riscv64"] {
            let calls = machine(name);
            let program = program(&calls);
            assert!(program.len() < 4096, "the kernel takes no more");
            for one in &calls {
                for number in 0..600 {
                    let wanted = match number {
                        _ if number == one.clone3 => FAIL | ENOSYS,
                        _ if one.refused.contains(&number) => FAIL | EPERM,
                        _ => ALLOW,
                    };
                    assert_eq!(
                        answer(&program, one.arch, number, SIGCHLD),
                        wanted,
                        "{number}"
                    );
                }
                let user_namespace = 0x1000_0000 | SIGCHLD;
                assert_eq!(
                    answer(&program, one.arch, one.clone, user_namespace),
                    FAIL | EPERM
                );
            }
            assert_eq!(answer(&program, 1, 2, 0), FAIL | ENOSYS);
        }
        let x86 = program(&machine("x86_64"));
        assert_eq!(
            answer(&x86, 0xc000_003e, 0x4000_0000 + 39, 0),
            FAIL | ENOSYS
        );
        assert!(machine("vax").is_empty());
    }
}
