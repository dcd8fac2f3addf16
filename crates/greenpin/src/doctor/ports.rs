//! Addresses and ports that the server binds.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use signalling::Transport;

use super::Context;
use super::deadline::blocking;
use super::finding::{Check, Finding, Judgement};
use super::running_server::RunningServer;
use super::socket_owner::{OpenSocket, Process, Protocol, bound_sockets, processes};
use crate::calls::sip::{BindError, BoundSocket, bind_each};

/// Ports of a kind that are named in a reason.
const MAX_NAMED_PORTS: usize = 3;

/// Sockets of this machine that other parts of the system have bound.
#[derive(Debug, Default)]
struct Taken {
    udp: Vec<OpenSocket>,
    tcp: Vec<OpenSocket>,
    processes: HashMap<u64, Process>,
}

impl Taken {
    /// Reads the sockets with these ports. Blocks.
    fn read(ports: &BTreeSet<u16>, media: &[RangeInclusive<u16>]) -> Self {
        let is_wanted = |socket: &OpenSocket| {
            let port = socket.address.port();
            ports.contains(&port) || media.iter().any(|range| range.contains(&port))
        };
        let [udp, tcp] = [Protocol::Udp, Protocol::Tcp].map(|protocol| {
            let mut sockets = bound_sockets(protocol);
            sockets.retain(is_wanted);
            sockets
        });
        let inodes: HashSet<u64> = udp.iter().chain(&tcp).map(|socket| socket.inode).collect();
        Self {
            udp,
            tcp,
            processes: processes(&inodes),
        }
    }

    /// Returns the process that has an address, if the system shows it.
    fn owner(&self, protocol: Protocol, address: SocketAddr) -> Option<&Process> {
        let sockets = match protocol {
            Protocol::Udp => &self.udp,
            Protocol::Tcp => &self.tcp,
        };
        let mut conflicting = sockets
            .iter()
            .filter(|socket| socket.conflicts_with(address));
        conflicting.find_map(|socket| self.processes.get(&socket.inode))
    }
}

/// Examines the ports. Returns the SIP sockets that could be bound, for further checks.
pub(super) async fn examine(context: &Context) -> (Vec<Finding>, Vec<BoundSocket>) {
    let config = &context.config;
    let own_ports = config
        .trunks
        .iter()
        .filter_map(|trunk| trunk.media_ports.clone());
    let media: Vec<_> = std::iter::once(config.media.ports.clone())
        .chain(own_ports)
        .collect();
    let listen = config.sip.listen.iter().map(|listen| listen.address.port());
    let ports = listen.chain([config.http.listen.port()]).collect();
    let ranges = media.clone();
    let taken = blocking(move || Taken::read(&ports, &ranges)).await;
    let taken = taken.unwrap_or_default();
    let server = context.server.as_ref();
    let mut findings = vec![of_http(config.http.listen, server, &taken)];
    let mut sockets = Vec::new();
    let bound = bind_each(&config.sip.listen);
    for (listen, bound) in config.sip.listen.iter().zip(bound) {
        let protocol = match listen.transport {
            Transport::Udp => Protocol::Udp,
            Transport::Tcp | Transport::Tls => Protocol::Tcp,
        };
        let owner = taken.owner(protocol, listen.address);
        let (result, socket) = match bound {
            Ok(socket) => (Ok(()), Some(socket)),
            Err(BindError::Address { source, .. }) => (Err(source), None),
            Err(error) => (Err(io::Error::other(error)), None),
        };
        let judgement = judge_port(&result, listen.address, server, owner, "sip.listen");
        findings.push(judgement.on(Check::Ports, listen.to_string()));
        sockets.extend(socket);
    }
    findings.push(of_media(&media, server, &taken));
    (findings, sockets)
}

fn of_http(address: SocketAddr, server: Option<&RunningServer>, taken: &Taken) -> Finding {
    let bound = TcpListener::bind(address).map(drop);
    let owner = taken.owner(Protocol::Tcp, address);
    let judgement = judge_port(&bound, address, server, owner, "http.listen");
    judgement.on(Check::Ports, format!("http:{address}"))
}

/// Judges the result of a trial to bind an address. `owner`: the process that has it, if known.
fn judge_port(
    bound: &io::Result<()>,
    address: SocketAddr,
    server: Option<&RunningServer>,
    owner: Option<&Process>,
    key: &str,
) -> Judgement {
    let error = match (bound, server) {
        (Ok(()), None) => return Judgement::Ok("free".to_owned()),
        (Ok(()), Some(_)) if address.port() == 0 => {
            return Judgement::Ok("the server has a port of its choice".to_owned());
        }
        (Ok(()), Some(server)) => {
            let reason = format!("{} runs, but nothing listens here", server.name());
            let remedy = format!("if {key} has changed, restart the server");
            return Judgement::Warning(reason, remedy);
        }
        (Err(error), _) => error,
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let pid = owner.map(|process| process.pid);
            if let Some(server) = server.filter(|server| server.owns(pid)) {
                return Judgement::Ok(format!("in use by {}", server.name()));
            }
            let owner = match owner {
                Some(Process { pid, name }) => format!("process {pid} ({name})"),
                None => "a process of another user".to_owned(),
            };
            Judgement::Fault(
                format!("port {} is in use by {owner}", address.port()),
                format!("stop that process, or choose another port in {key}"),
            )
        }
        io::ErrorKind::AddrNotAvailable => Judgement::Fault(
            format!("{} is not an address of this machine", address.ip()),
            format!("name an address of this machine in {key}, or 0.0.0.0"),
        ),
        io::ErrorKind::PermissionDenied => Judgement::Fault(
            format!("this user may not bind port {}: {error}", address.port()),
            "choose a port from 1024 on, or give the server CAP_NET_BIND_SERVICE".to_owned(),
        ),
        _ => Judgement::Fault(
            format!("cannot be bound: {error}"),
            format!("correct {key}"),
        ),
    }
}

/// Warns of sockets of other programs in the ranges of media ports.
fn of_media(
    ranges: &[RangeInclusive<u16>],
    server: Option<&RunningServer>,
    taken: &Taken,
) -> Finding {
    let is_foreign = |socket: &&OpenSocket| {
        let port = socket.address.port();
        let process = taken.processes.get(&socket.inode);
        let pid = process.map(|process| process.pid);
        let is_own =
            pid == Some(std::process::id()) || server.is_some_and(|server| server.owns(pid));
        ranges.iter().any(|range| range.contains(&port)) && !is_own
    };
    let foreign: BTreeSet<u16> = taken
        .udp
        .iter()
        .filter(is_foreign)
        .map(|socket| socket.address.port())
        .collect();
    let ports: usize = ranges.iter().map(|range| range.len()).sum();
    let subject = "media.ports";
    if foreign.is_empty() {
        let reason = format!("no other program has one of the {ports} ports");
        return Finding::ok(Check::Ports, subject, reason);
    }
    let named: Vec<String> = foreign
        .iter()
        .take(MAX_NAMED_PORTS)
        .map(ToString::to_string)
        .collect();
    let others = match foreign.len() > MAX_NAMED_PORTS {
        true => ", …",
        false => "",
    };
    Finding::warning(
        Check::Ports,
        subject,
        format!(
            "other programs have {} of the {ports} ports: {}{others}",
            foreign.len(),
            named.join(", ")
        ),
        "choose a range for media.ports that no other program uses; the server skips such ports",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(pid: u32) -> RunningServer {
        RunningServer::with_pid(pid)
    }

    fn judge(
        kind: Option<io::ErrorKind>,
        server: Option<&RunningServer>,
        owner: Option<u32>,
    ) -> Judgement {
        let owner = owner.map(|pid| Process {
            pid,
            name: "other".into(),
        });
        let bound = kind.map_or(Ok(()), |kind| Err(kind.into()));
        let address = "127.0.0.1:5060".parse().unwrap();
        judge_port(&bound, address, server, owner.as_ref(), "sip.listen")
    }

    #[test]
    fn a_port_may_be_free_or_in_use_by_the_own_server() {
        assert!(matches!(judge(None, None, None), Judgement::Ok(_)));
        let in_use = Some(io::ErrorKind::AddrInUse);
        let own = server(7);
        for owner in [Some(7), None] {
            assert!(matches!(judge(in_use, Some(&own), owner), Judgement::Ok(_)));
        }
        assert!(
            matches!(judge(None, Some(&own), None), Judgement::Warning(..)),
            "the server should listen"
        );
    }

    #[test]
    fn a_port_of_another_process_is_a_fault_that_names_both() {
        let in_use = Some(io::ErrorKind::AddrInUse);
        for (server, owner) in [(None, Some(9)), (Some(server(7)), Some(9)), (None, None)] {
            let Judgement::Fault(reason, remedy) = judge(in_use, server.as_ref(), owner) else {
                panic!("a fault");
            };
            assert!(reason.contains("port 5060"), "{reason}");
            assert_eq!(reason.contains("process 9 (other)"), owner.is_some());
            assert!(remedy.contains("sip.listen"), "{remedy}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_bound_is_a_fault() {
        for kind in [
            io::ErrorKind::AddrNotAvailable,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::OutOfMemory,
        ] {
            assert!(matches!(
                judge(Some(kind), None, None),
                Judgement::Fault(..)
            ));
        }
    }

    #[test]
    fn sockets_of_other_programs_in_the_media_ports_are_a_warning() {
        let socket = |port, inode| OpenSocket {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            inode,
        };
        let process = |pid| Process {
            pid,
            name: "other".into(),
        };
        let taken = Taken {
            udp: vec![socket(20_000, 1), socket(20_004, 2), socket(5060, 2)],
            tcp: Vec::new(),
            processes: HashMap::from([(1, process(7)), (2, process(9))]),
        };
        let ranges = [20_000..=20_009, 21_000..=21_009];
        let found = of_media(&ranges, Some(&server(7)), &taken);
        assert_eq!(found.reason, "other programs have 1 of the 20 ports: 20004");
        let found = of_media(&ranges[1..], Some(&server(7)), &taken);
        assert_eq!(found.remedy, None);
    }
}
