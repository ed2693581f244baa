//! The program that runs in the kernel at every system call of an observed process.

use std::mem::offset_of;

use libc::{seccomp_data, sock_filter};

use super::calls::{CALLS, Call, KNOWN_MAX};

#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: u32 = 0xC000_00B7;

/// As many numbers are compared one after another before the rest is halved.
const LEAF: usize = 2;

/// Makes the program: numbers are searched by halving, so that a call that does not matter costs a few comparisons.
/// The kernel remembers besides which numbers always pass, and does not run it for them at all.
pub(super) fn program() -> Vec<sock_filter> {
    let mut program = vec![
        load(offset_of!(seccomp_data, arch)),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        end(libc::SECCOMP_RET_USER_NOTIF),
        load(offset_of!(seccomp_data, nr)),
        // Calls that are too new, and those of x32.
        jump(libc::BPF_JGE, KNOWN_MAX + 1, 0, 1),
        end(libc::SECCOMP_RET_USER_NOTIF),
    ];
    search(&CALLS, &mut program);
    program
}

fn search(calls: &[(u32, Call)], program: &mut Vec<sock_filter>) {
    if calls.len() <= LEAF {
        for (number, call) in calls {
            let found = on_found(call);
            let skipped = u8::try_from(found.len()).expect("it is a handful");
            program.push(jump(libc::BPF_JEQ, *number, 0, skipped));
            program.extend(found);
        }
        program.push(end(libc::SECCOMP_RET_ALLOW));
        return;
    }
    let (lower, upper) = calls.split_at(calls.len() / 2);
    let mut below = Vec::new();
    search(lower, &mut below);
    let skipped = u32::try_from(below.len()).expect("a program is short");
    // A conditional jump reaches no further than 255.
    program.push(jump(libc::BPF_JGE, upper[0].0, 0, 1));
    program.push(statement(libc::BPF_JMP | libc::BPF_JA, skipped));
    program.extend(below);
    search(upper, program);
}

/// Sockets of these families tell nothing until they are given an address.
const ADDRESSED: [libc::c_int; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// What to do about a call that matters: nothing, where an argument says that it names no path or address.
fn on_found(call: &Call) -> Vec<sock_filter> {
    if *call == Call::Socket {
        let mut found = vec![load(offset_of!(seccomp_data, args))];
        for family in ADDRESSED {
            found.push(jump(libc::BPF_JEQ, family.unsigned_abs(), 0, 1));
            found.push(end(libc::SECCOMP_RET_ALLOW));
        }
        found.push(end(libc::SECCOMP_RET_USER_NOTIF));
        return found;
    }
    let Some(argument) = call.named_by() else {
        return vec![end(libc::SECCOMP_RET_USER_NOTIF)];
    };
    let offset = offset_of!(seccomp_data, args) + 8 * usize::from(argument);
    vec![
        load(offset),
        jump(libc::BPF_JEQ, 0, 0, 3),
        load(offset + 4),
        jump(libc::BPF_JEQ, 0, 0, 1),
        end(libc::SECCOMP_RET_ALLOW),
        end(libc::SECCOMP_RET_USER_NOTIF),
    ]
}

fn load(offset: usize) -> sock_filter {
    let offset = u32::try_from(offset).expect("the structure is small");
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn end(verdict: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, verdict)
}

fn statement(code: u32, value: u32) -> sock_filter {
    instruction(code, value, 0, 0)
}

fn jump(condition: u32, value: u32, if_so: u8, if_not: u8) -> sock_filter {
    instruction(libc::BPF_JMP | condition | libc::BPF_K, value, if_so, if_not)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = u16::try_from(code).expect("codes are of 16 bits");
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel does.
    fn verdict(architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let program = program();
        let (mut at, mut value) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            match u32::from(step.code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    value = match step.k {
                        0 => number,
                        4 => architecture,
                        offset => {
                            let argument = arguments[(offset as usize - 16) / 8];
                            let half = if offset % 8 == 0 { argument } else { argument >> 32 };
                            u32::try_from(half & u64::from(u32::MAX)).unwrap()
                        }
                    };
                }
                code if code == libc::BPF_RET | libc::BPF_K => return step.k,
                code if code == libc::BPF_JMP | libc::BPF_JA => at += step.k as usize,
                code => {
                    let holds = if code & 0xf0 == libc::BPF_JEQ {
                        value == step.k
                    } else {
                        value >= step.k
                    };
                    at += usize::from(if holds { step.jt } else { step.jf });
                }
            }
        }
    }

    #[test]
    fn every_number_gets_its_verdict() {
        for number in 0..KNOWN_MAX + 50 {
            let matters = number > KNOWN_MAX || CALLS.iter().any(|(listed, _)| *listed == number);
            let told = verdict(ARCHITECTURE, number, [16; 6]) == libc::SECCOMP_RET_USER_NOTIF;
            assert_eq!(told, matters, "{number}");
        }
    }

    #[test]
    fn other_architectures_and_x32_are_told() {
        assert_eq!(verdict(0x4000_0003, 20, [0; 6]), libc::SECCOMP_RET_USER_NOTIF);
        assert_eq!(
            verdict(ARCHITECTURE, 0x4000_0000, [0; 6]),
            libc::SECCOMP_RET_USER_NOTIF
        );
    }

    #[test]
    fn a_call_that_names_nothing_passes() {
        let sendto = u32::try_from(libc::SYS_sendto).unwrap();
        assert_eq!(
            verdict(ARCHITECTURE, sendto, [3, 1, 9, 0, 0, 0]),
            libc::SECCOMP_RET_ALLOW
        );
        assert_eq!(
            verdict(ARCHITECTURE, sendto, [3, 1, 9, 0, 1 << 40, 0]),
            libc::SECCOMP_RET_USER_NOTIF
        );
    }

    #[test]
    fn sockets_that_need_no_address_are_told() {
        let socket = u32::try_from(libc::SYS_socket).unwrap();
        let of = |family: i32| {
            verdict(
                ARCHITECTURE,
                socket,
                [u64::from(family.unsigned_abs()), 1, 0, 0, 0, 0],
            )
        };
        for family in ADDRESSED {
            assert_eq!(of(family), libc::SECCOMP_RET_ALLOW);
        }
        for family in [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK] {
            assert_eq!(of(family), libc::SECCOMP_RET_USER_NOTIF);
        }
    }
}
