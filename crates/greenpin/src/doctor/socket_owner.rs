//! Bound sockets of this machine and their processes, from `/proc`. Elsewhere than on Linux the lists are empty.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// State of a listening TCP socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Protocol of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// UDP: all bound sockets.
    Udp,
    /// TCP: the sockets that listen.
    Tcp,
}

/// Socket bound to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenSocket {
    pub(super) address: SocketAddr,
    pub(super) inode: u64,
}

/// Process with an open socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Name of its program.
    pub(super) name: String,
}

impl OpenSocket {
    /// Returns whether this socket prevents another one from being bound to an address.
    pub(super) fn conflicts_with(&self, wanted: SocketAddr) -> bool {
        let (own, other) = (self.address.ip().to_canonical(), wanted.ip().to_canonical());
        let overlaps = own == other || own.is_unspecified() || other.is_unspecified();
        self.address.port() == wanted.port() && overlaps
    }
}

/// Returns the bound sockets of both IP versions. Blocks.
pub(super) fn bound_sockets(protocol: Protocol) -> Vec<OpenSocket> {
    let files = match protocol {
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let texts = files.map(|file| fs::read_to_string(file).unwrap_or_default());
    let lines = texts.iter().flat_map(|text| text.lines().skip(1));
    lines.filter_map(|line| parse(line, protocol)).collect()
}

/// Returns the processes that have these sockets open, by inode. Sockets of other users are visible only to root.
/// Blocks.
pub(super) fn processes(inodes: &HashSet<u64>) -> HashMap<u64, Process> {
    let mut found = HashMap::new();
    if inodes.is_empty() {
        return found;
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        for inode in sockets_of(&entry.path()).filter(|inode| inodes.contains(inode)) {
            found.entry(inode).or_insert_with(|| Process {
                pid,
                name: program(&entry.path()),
            });
        }
    }
    found
}

fn sockets_of(process: &Path) -> impl Iterator<Item = u64> {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten();
    descriptors.flatten().filter_map(|descriptor| {
        let target = fs::read_link(descriptor.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?;
        inode.strip_suffix(']')?.parse().ok()
    })
}

fn program(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// Parses a line of `/proc/net/udp` or `/proc/net/tcp`.
fn parse(line: &str, protocol: Protocol) -> Option<OpenSocket> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_bound = protocol == Protocol::Udp || words.get(3) == Some(&LISTENING);
    let socket = OpenSocket {
        address: parse_address(words.get(1)?)?,
        inode: words.get(9)?.parse().ok()?,
    };
    is_bound.then_some(socket)
}

/// Parses an address: words of 32 bits in the byte order of the machine, in hexadecimal digits, and the port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut octets = Vec::new();
    for start in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(start..start.saturating_add(8))?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let ip = match octets.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_this_process_is_found_with_its_process() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let sockets = bound_sockets(Protocol::Udp);
        let own = sockets.iter().find(|open| open.conflicts_with(address));
        let inode = own.unwrap().inode;
        let process = &processes(&HashSet::from([inode]))[&inode];
        assert_eq!(process.pid, std::process::id());
        assert!(!process.name.is_empty());
    }

    #[test]
    fn lines_of_proc_are_parsed_and_broken_ones_ignored() {
        let line = "  12: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 77 2 0 0";
        let socket = parse(line, Protocol::Udp).unwrap();
        assert_eq!(socket.address, "127.0.0.1:5060".parse().unwrap());
        assert_eq!(socket.inode, 77);
        assert_eq!(parse(line, Protocol::Tcp), None, "it does not listen");
        let v6 = line.replace("0100007F", "00000000000000000000000001000000");
        let socket = parse(&v6, Protocol::Udp).unwrap();
        assert_eq!(socket.address, "[::1]:5060".parse().unwrap());
        for broken in [
            "",
            "1: x",
            "1: 0100007F:13C4",
            "1: ZZ:13C4 0 07 a b c d e 7",
        ] {
            assert_eq!(parse(broken, Protocol::Udp), None, "{broken}");
        }
    }

    #[test]
    fn an_unspecified_address_conflicts_with_every_address_of_its_port() {
        let socket = |address: &str| OpenSocket {
            address: address.parse().unwrap(),
            inode: 1,
        };
        let conflicts =
            |own: &str, wanted: &str| socket(own).conflicts_with(wanted.parse().unwrap());
        assert!(conflicts("0.0.0.0:5060", "127.0.0.1:5060"));
        assert!(conflicts("127.0.0.1:5060", "0.0.0.0:5060"));
        assert!(conflicts("[::]:5060", "127.0.0.1:5060"));
        assert!(!conflicts("127.0.0.2:5060", "127.0.0.1:5060"));
        assert!(!conflicts("0.0.0.0:5061", "127.0.0.1:5060"));
    }
}
