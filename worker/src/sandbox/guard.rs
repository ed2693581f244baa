//! Keeps cases from devices that reach past all isolation and, on the machine's network, from connecting to a few
//! addresses: programs in the kernel that are asked for every opening and every connection of a control group
//! (`bpf(2)`, `BPF_PROG_TYPE_CGROUP_DEVICE` and `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`).

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::groups::{make_own, remove, unified_folder};

/// Where the metadata services of clouds answer, on any port: with credentials of the machine.
const METADATA: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // Credentials of containers and pods (AWS).
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
/// `BPF_CGROUP_DEVICE`.
const DEVICE_HOOK: u32 = 6;
/// `BPF_CGROUP_INET4_CONNECT`, `_INET6_CONNECT`, `BPF_CGROUP_UDP4_SENDMSG`, `_UDP6_SENDMSG`.
const HOOKS: [(u32, bool); 4] = [(10, false), (11, true), (14, false), (15, true)];

/// A control group whose processes cannot reach some addresses. It goes with this.
#[derive(Debug)]
pub(super) struct Guard {
    folder: PathBuf,
    group: Arc<OwnedFd>,
}

impl Guard {
    /// Guards devices; with `others`, also the metadata services and these.
    pub(super) fn new(others: Option<&[SocketAddr]>) -> io::Result<Self> {
        let folder = make_own(&unified_folder()?)?;
        match guarded(&folder, others) {
            Ok(group) => Ok(Self {
                folder,
                group: Arc::new(group.into()),
            }),
            Err(cause) => {
                let _ = fs::remove_dir(&folder);
                Err(cause)
            }
        }
    }

    /// The group that processes are to start in.
    pub(super) fn group(&self) -> Arc<OwnedFd> {
        self.group.clone()
    }

    /// Its folder, below which groups are guarded, too.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Who is still in it keeps it; it holds no memory to speak of.
        remove(&self.folder);
    }
}

fn guarded(folder: &Path, others: Option<&[SocketAddr]>) -> io::Result<File> {
    let group = File::open(folder)?;
    let devices = load(PROG_TYPE_CGROUP_DEVICE, &devices(), DEVICE_HOOK)?;
    attach(&group, &devices, DEVICE_HOOK)?;
    let Some(others) = others else { return Ok(group) };
    for (hook, v6) in HOOKS {
        let program = load(PROG_TYPE_CGROUP_SOCK_ADDR, &instructions(others, v6), hook)?;
        attach(&group, &program, hook)?;
    }
    Ok(group)
}

/// Whether an address is this machine's: then whatever listens there may also be reached by its other addresses.
fn is_local(address: IpAddr) -> bool {
    address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

/// One instruction, as the kernel takes it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers,
        offset,
        immediate,
    }
}

/// Reads a word of the context into register 2.
const fn read(offset: i16) -> Instruction {
    instruction(0x61, 0x12, offset, 0)
}

/// Goes on `skip` instructions further unless register 2 holds that word.
const fn unless(word: u32, skip: i16) -> Instruction {
    instruction(0x56, 0x02, skip, word.cast_signed())
}

/// A program that says no to disks, and to memory, ports and the log of the kernel; `struct bpf_cgroup_dev_ctx` is its
/// context.
fn devices() -> Vec<Instruction> {
    const KIND: i16 = 0;
    const MAJOR: i16 = 4;
    const MINOR: i16 = 8;
    const BLOCK: u32 = 1;
    const MEMORY: u32 = 1;
    let mut program = vec![read(KIND), low_half(), unless(BLOCK, 2)];
    program.extend(answer(0));
    // mem, kmem, port, kmsg.
    let refused = [1, 2, 4, 11];
    let skipped = 4 * refused.len() as i16;
    program.extend([read(MAJOR), unless(MEMORY, skipped)]);
    for minor in refused {
        program.extend([read(MINOR), unless(minor, 2)]);
        program.extend(answer(0));
    }
    program.extend(answer(1));
    program
}

/// Keeps the low half of register 2.
const fn low_half() -> Instruction {
    instruction(0x54, 0x02, 0, 0xffff)
}

/// A program that says no to a few addresses and yes to all others; `struct bpf_sock_addr` is its context.
fn instructions(others: &[SocketAddr], v6: bool) -> Vec<Instruction> {
    const ADDRESS_V4: i16 = 4;
    const ADDRESS_V6: i16 = 8;
    const PORT: i16 = 24;
    let everywhere = METADATA.iter().map(|address| (*address, None));
    let others = others.iter().map(|other| (other.ip(), Some(other.port())));
    let mut program = Vec::new();
    for (address, port) in everywhere.chain(others) {
        let mut words: Vec<(i16, u32)> = match address {
            // Any address with that port: cases of this machine cannot listen there themselves.
            address if port.is_some() && is_local(address) => Vec::new(),
            IpAddr::V4(address) if !v6 => vec![(ADDRESS_V4, u32::from_ne_bytes(address.octets()))],
            IpAddr::V4(address) => words_of(&address.to_ipv6_mapped(), ADDRESS_V6),
            IpAddr::V6(address) if v6 => words_of(&address, ADDRESS_V6),
            IpAddr::V6(_) => continue,
        };
        // In network order, in the low half.
        words.extend(port.map(|port| (PORT, u32::from(port.to_be()))));
        let mut skip = 2 * i16::try_from(words.len()).expect("an address has few words") + 2;
        for (offset, word) in words {
            skip -= 2;
            program.extend([read(offset), unless(word, skip)]);
        }
        program.extend(answer(0));
    }
    program.extend(answer(1));
    program
}

fn words_of(address: &Ipv6Addr, at: i16) -> Vec<(i16, u32)> {
    let octets = address.octets();
    let words = octets
        .chunks_exact(4)
        .map(|word| u32::from_ne_bytes(word.try_into().expect("they are four")));
    (0..4).map(|index| at + 4 * index).zip(words).collect()
}

fn answer(value: i32) -> [Instruction; 2] {
    [instruction(0xb7, 0x00, 0, value), instruction(0x95, 0, 0, 0)]
}

/// The part of `union bpf_attr` that loading needs.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface_index: u32,
    expected_attach_type: u32,
}

/// The part of `union bpf_attr` that attaching needs.
#[repr(C)]
struct AttachAttributes {
    target: i32,
    program: i32,
    attach_type: u32,
    flags: u32,
}

fn load(program_type: u32, instructions: &[Instruction], hook: u32) -> io::Result<OwnedFd> {
    let attributes = LoadAttributes {
        program_type,
        instruction_count: u32::try_from(instructions.len()).expect("the program is short"),
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"thresh_guard\0\0\0\0",
        interface_index: 0,
        expected_attach_type: hook,
    };
    let fd = bpf(PROG_LOAD, &attributes)?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    Ok(owned(fd))
}

#[expect(unsafe_code, reason = "a descriptor comes as a number from a system call")]
fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made it for this call alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn attach(group: &File, program: &OwnedFd, hook: u32) -> io::Result<()> {
    let attributes = AttachAttributes {
        target: group.as_raw_fd(),
        program: program.as_raw_fd(),
        attach_type: hook,
        flags: 0,
    };
    bpf(PROG_ATTACH, &attributes).map(drop)
}

#[expect(unsafe_code, reason = "nothing safe offers bpf(2)")]
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: the attributes are laid out as the kernel has them, and all that they point to outlives the call.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if returned < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(returned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program on a context with these words.
    fn run(program: &[Instruction], context: &[(i16, u32)]) -> i32 {
        let (mut at, mut word, mut result) = (0, 0, -1);
        loop {
            let Instruction {
                code,
                offset,
                immediate,
                ..
            } = program[at];
            at += 1;
            match code {
                0x61 => {
                    word = context
                        .iter()
                        .find(|(found, _)| *found == offset)
                        .map_or(0, |(_, word)| *word)
                }
                0x56 if word != immediate.cast_unsigned() => at = at.wrapping_add_signed(offset.into()),
                0x56 => {}
                0x54 => word &= immediate.cast_unsigned(),
                0xb7 => result = immediate,
                0x95 => return result,
                other => panic!("unknown instruction {other:x}"),
            }
        }
    }

    #[test]
    fn only_the_named_addresses_are_refused() {
        let farm: [SocketAddr; 3] = [
            "127.0.0.1:9981".parse().unwrap(),
            "10.0.0.7:8980".parse().unwrap(),
            "[2001:db8::1]:8980".parse().unwrap(),
        ];
        let v4 = |address: [u8; 4], port: u16| {
            vec![(4, u32::from_ne_bytes(address)), (24, u32::from(port.to_be()))]
        };
        let v6 = |address: &str, port: u16| {
            let mut words = words_of(&address.parse().unwrap(), 8);
            words.push((24, u32::from(port.to_be())));
            words
        };
        let (on_v4, on_v6) = (instructions(&farm, false), instructions(&farm, true));
        for (allowed, address) in [
            (0, v4([169, 254, 169, 254], 80)),
            (0, v4([169, 254, 169, 254], 1)),
            (1, v4([169, 254, 169, 253], 80)),
            (0, v4([10, 0, 0, 7], 8980)),
            (1, v4([10, 0, 0, 7], 8981)),
            (1, v4([127, 0, 0, 1], 8980)),
            (0, v4([127, 0, 0, 1], 8981 + 1000)),
            (0, v4([0, 0, 0, 0], 8981 + 1000)),
            (0, v4([169, 254, 170, 2], 80)),
        ] {
            assert_eq!(run(&on_v4, &address), allowed, "{address:?}");
        }
        for (allowed, address) in [
            (0, v6("fd00:ec2::254", 80)),
            (1, v6("fd00:ec2::253", 80)),
            (0, v6("::ffff:169.254.169.254", 80)),
            (0, v6("::ffff:10.0.0.7", 8980)),
            (0, v6("2001:db8::1", 8980)),
            (1, v6("2001:db8::1", 80)),
            (1, v6("2001:db8::2", 8980)),
        ] {
            assert_eq!(run(&on_v6, &address), allowed, "{address:?}");
        }
    }
    #[test]
    fn disks_and_the_kernels_memory_are_refused() {
        let device = |kind: u32, major: u32, minor: u32| [(0, 6 << 16 | kind), (4, major), (8, minor)];
        let program = devices();
        for (allowed, device) in [
            (0, device(1, 254, 0)),
            (0, device(1, 7, 3)),
            (0, device(2, 1, 1)),
            (0, device(2, 1, 11)),
            (1, device(2, 1, 3)),
            (1, device(2, 1, 9)),
            (1, device(2, 5, 2)),
            (1, device(2, 136, 1)),
            (1, device(2, 10, 4)),
        ] {
            assert_eq!(run(&program, &device), allowed, "{device:?}");
        }
    }
}
