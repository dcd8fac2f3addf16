//! Entries of a trace in one line each.

use crate::store::TraceFact;

/// Parts of a masked SIP message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SipHead<'a> {
    /// Method of the `CSeq`, or else of the start line.
    pub(crate) method: &'a str,
    /// Status of a response.
    pub(crate) status: Option<u16>,
    /// Number of the `CSeq`.
    pub(crate) cseq: Option<u32>,
    start_line: &'a str,
}

impl<'a> SipHead<'a> {
    /// Reads the head of a masked message.
    pub(crate) fn read(text: &'a str) -> Self {
        let mut lines = text.split("\r\n");
        let start_line = lines.next().unwrap_or_default();
        let cseq = lines
            .take_while(|line| !line.is_empty())
            .find_map(|line| line.strip_prefix("CSeq: "));
        let (number, method) = cseq.and_then(|cseq| cseq.split_once(' ')).unzip();
        let status = start_line.strip_prefix("SIP/2.0 ");
        let status = status.and_then(|rest| rest.split(' ').next()?.parse().ok());
        Self {
            method: method.unwrap_or_else(|| start_line.split(' ').next().unwrap_or_default()),
            status,
            cseq: number.and_then(|number| number.parse().ok()),
            start_line,
        }
    }
}

/// Returns a fact as one line.
pub(crate) fn line(fact: &TraceFact) -> String {
    match fact {
        TraceFact::Sip { text, .. } => {
            let head = SipHead::read(text);
            match head.start_line.strip_prefix("SIP/2.0 ") {
                Some(status) => format!("{status} ({})", head.method),
                None => head.start_line.trim_end_matches(" SIP/2.0").to_owned(),
            }
        }
        TraceFact::Digit { method } => format!("digit ({method})"),
        TraceFact::Decision { reason, text, .. } => match reason {
            Some(reason) => format!("{text} ({reason})"),
            None => text.to_string(),
        },
        TraceFact::Dial { trunk, number } => match trunk {
            Some(trunk) => format!("dial {number} over trunk {trunk}"),
            None => format!("{number} is not dialled"),
        },
        TraceFact::DialEnd { sip_status, cause } => match sip_status {
            Some(status) => format!("leg ended: {cause} (SIP {status})"),
            None => format!("leg ended: {cause}"),
        },
        TraceFact::Media {
            codec,
            packets_received,
            packets_lost,
            packets_sent,
            jitter_ms,
            mos,
        } => {
            let codec = codec.as_deref().unwrap_or("no media");
            let mos = mos.map(|mos| format!(", MOS {mos:.2}")).unwrap_or_default();
            format!(
                "media {codec}: {packets_received} packets received, {packets_lost} lost, {packets_sent} sent, \
                 jitter {jitter_ms:.1} ms{mos}"
            )
        }
        TraceFact::Recording { state, duration } => match duration {
            Some(seconds) => format!("recording {state}: {seconds} s"),
            None => format!("recording {state}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_message_is_read() {
        let head =
            SipHead::read("SIP/2.0 486 Busy Here\r\nVia: x\r\nCSeq: 7 INVITE\r\n\r\nCSeq: 8 BYE");
        assert_eq!(
            (head.method, head.status, head.cseq),
            ("INVITE", Some(486), Some(7))
        );
        let head = SipHead::read("BYE sip:x SIP/2.0\r\n\r\n");
        assert_eq!((head.method, head.status, head.cseq), ("BYE", None, None));
    }
}
