//! Limits of the operating system and of the configuration: open files, media ports, socket buffers.

use std::fs;
use std::ops::RangeInclusive;

use super::Context;
use super::finding::{Check, Finding, Judgement};
use crate::calls::sip::SOCKET_BUFFER_BYTES;
use crate::server::{OTHER_DESCRIPTORS, OpenFiles, PORTS_PER_CALL, required_descriptors};

/// Default of Linux for the maximum receive buffer.
const DEFAULT_RECEIVE_BUFFER: u64 = 212_992;
/// Share of the calls for which the open files must suffice: one part in this number.
const MIN_SHARE: u64 = 10;

/// Examines the limits.
pub(super) async fn examine(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    let calls = calls_by_ports(&config.media.ports).min(config.sip.max_calls);
    let mut findings = vec![of_calls(&config.media.ports, config.sip.max_calls)];
    findings.extend(of_open_files(
        context,
        u64::try_from(calls).unwrap_or(u64::MAX),
    ));
    if let Some(ephemeral) = ephemeral_ports() {
        let reserved = read("net/ipv4/ip_local_reserved_ports").unwrap_or_default();
        let judgement = judge_ephemeral(&config.media.ports, &ephemeral, &reserved);
        findings.push(judgement.on(Check::Limits, "ephemeral ports"));
    }
    let buffer = read("net/core/rmem_max").and_then(|text| text.parse().ok());
    findings.extend(buffer.map(|maximum| {
        let judgement = judge_buffer(maximum, SOCKET_BUFFER_BYTES as u64);
        judgement.on(Check::Limits, "receive buffer")
    }));
    findings
}

/// Reads a parameter of the kernel.
fn read(parameter: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{parameter}")).ok()?;
    Some(text.trim().to_owned())
}

fn calls_by_ports(ports: &RangeInclusive<u16>) -> usize {
    ports.len() / PORTS_PER_CALL
}

fn of_calls(ports: &RangeInclusive<u16>, max_calls: usize) -> Finding {
    let by_ports = calls_by_ports(ports);
    let subject = "calls";
    let reason = format!("media.ports allows {by_ports} calls, sip.max_calls {max_calls}");
    match by_ports {
        0 => Finding::fault(
            Check::Limits,
            subject,
            reason,
            format!("give media.ports at least {PORTS_PER_CALL} ports for each call"),
        ),
        _ => Finding::ok(Check::Limits, subject, reason),
    }
}

fn of_open_files(context: &Context, calls: u64) -> Option<Finding> {
    let pid = context.server.as_ref().and_then(|server| server.pid);
    let of_server = pid.and_then(|pid| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        parse_open_files(&limits)
    });
    let (limit, whose) = match of_server {
        Some(limit) => (limit, "the server"),
        // The server raises its limit at the start.
        None => (OpenFiles::read().ok()?.hard, "this shell"),
    };
    Some(judge_open_files(limit, calls, whose).on(Check::Limits, "open files"))
}

/// Returns the soft limit in `/proc/PID/limits`.
fn parse_open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        word => word.parse().ok(),
    }
}

/// Judges a limit of open files. `whose`: owner of the limit.
fn judge_open_files(limit: u64, calls: u64, whose: &str) -> Judgement {
    let needed = required_descriptors(calls);
    let reason = format!("{limit} for {whose}, {needed} needed for {calls} calls");
    let remedy =
        "raise LimitNOFILE of the unit, or ulimit -n; or lower media.ports or sip.max_calls";
    if limit >= needed {
        Judgement::Ok(reason)
    } else if limit < required_descriptors(calls / MIN_SHARE).max(OTHER_DESCRIPTORS) {
        Judgement::Fault(reason, remedy.to_owned())
    } else {
        Judgement::Warning(reason, remedy.to_owned())
    }
}

fn ephemeral_ports() -> Option<RangeInclusive<u16>> {
    let text = read("net/ipv4/ip_local_port_range")?;
    let mut words = text.split_ascii_whitespace();
    let first = words.next()?.parse().ok()?;
    Some(first..=words.next()?.parse().ok()?)
}

/// Judges whether the system may give media ports to other connections. `reserved`: ports that it never gives.
fn judge_ephemeral(
    media: &RangeInclusive<u16>,
    ephemeral: &RangeInclusive<u16>,
    reserved: &str,
) -> Judgement {
    let reserved: Vec<RangeInclusive<u16>> = reserved.split(',').filter_map(parse_range).collect();
    let is_given =
        |port: &u16| ephemeral.contains(port) && !reserved.iter().any(|range| range.contains(port));
    let given = media.clone().filter(is_given).count();
    let (first, last) = (ephemeral.start(), ephemeral.end());
    if given == 0 {
        let reason = format!("{first}-{last}, apart from media.ports");
        return Judgement::Ok(reason);
    }
    Judgement::Warning(
        format!(
            "the system assigns {first}-{last} to other connections; {given} of media.ports are in this range"
        ),
        format!(
            "choose media.ports below {first}, or set net.ipv4.ip_local_reserved_ports = {}-{}",
            media.start(),
            media.end()
        ),
    )
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

/// Judges the maximum receive buffer of a socket. The server asks for `wanted` bytes for SIP over UDP.
fn judge_buffer(maximum: u64, wanted: u64) -> Judgement {
    let remedy = format!("set net.core.rmem_max = {wanted}");
    if maximum >= wanted {
        Judgement::Ok(format!("{maximum} bytes"))
    } else if maximum >= DEFAULT_RECEIVE_BUFFER {
        Judgement::Ok(format!(
            "{maximum} of {wanted} bytes; for thousands of calls, {remedy}"
        ))
    } else {
        let reason = format!("{maximum} of {wanted} bytes: bursts of SIP over UDP are lost");
        Judgement::Warning(reason, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_must_suffice_for_the_calls() {
        let judged = |limit, calls| judge_open_files(limit, calls, "the server");
        assert_eq!(
            judged(11_500, 2500),
            Judgement::Ok("11500 for the server, 11500 needed for 2500 calls".to_owned())
        );
        assert!(matches!(judged(11_499, 2500), Judgement::Warning(..)));
        assert!(matches!(judged(2500, 2500), Judgement::Warning(..)));
        assert!(matches!(judged(2499, 2500), Judgement::Fault(..)));
        assert!(matches!(judged(1024, 4), Judgement::Fault(..)));
        assert!(matches!(judged(u64::MAX, u64::MAX), Judgement::Ok(_)));
    }

    #[test]
    fn the_limit_of_another_process_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            20000                20000                files     \n";
        assert_eq!(parse_open_files(limits), Some(20_000));
        let unlimited = limits.replace("20000", "unlimited");
        assert_eq!(parse_open_files(&unlimited), Some(u64::MAX));
        assert_eq!(parse_open_files("Max processes 5 5\n"), None);
    }

    #[test]
    fn media_ports_that_the_system_gives_to_others_are_a_warning() {
        let judged = |media: RangeInclusive<u16>, reserved: &str| {
            judge_ephemeral(&media, &(32_768..=60_999), reserved)
        };
        assert!(matches!(judged(20_000..=29_999, ""), Judgement::Ok(_)));
        let Judgement::Warning(reason, remedy) = judged(30_000..=40_000, "") else {
            panic!("a warning");
        };
        assert!(reason.contains("7233 of media.ports") && remedy.contains("30000-40000"));
        assert!(matches!(
            judged(30_000..=40_000, "8080,30000-40000"),
            Judgement::Ok(_)
        ));
        assert!(matches!(
            judged(40_000..=40_001, "40000"),
            Judgement::Warning(..)
        ));
    }

    #[test]
    fn a_range_without_room_for_a_call_is_a_fault() {
        let outcome = |ports: RangeInclusive<u16>| of_calls(&ports, 4000).remedy.is_none();
        assert!(outcome(20_000..=29_999));
        assert!(!outcome(20_000..=20_002));
    }

    #[test]
    fn a_small_receive_buffer_is_a_warning() {
        assert!(matches!(
            judge_buffer(4_194_304, 4_194_304),
            Judgement::Ok(_)
        ));
        assert!(matches!(judge_buffer(212_992, 4_194_304), Judgement::Ok(_)));
        assert!(matches!(
            judge_buffer(65_536, 4_194_304),
            Judgement::Warning(..)
        ));
    }
}
