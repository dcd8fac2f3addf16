use super::*;
use crate::Header;
use proptest::prelude::*;

const SUITES: [SrtpSuite; 4] = [
    SrtpSuite::AesCm128HmacSha1_80,
    SrtpSuite::AesCm128HmacSha1_32,
    SrtpSuite::AeadAes128Gcm,
    SrtpSuite::AeadAes256Gcm,
];

fn pair(suite: SrtpSuite) -> (SrtpSender, SrtpReceiver) {
    let key: Vec<u8> = (0..suite.key_length() as u8).collect();
    (
        SrtpSender::new(suite, &key).unwrap(),
        SrtpReceiver::new(suite, &key).unwrap(),
    )
}

fn packet(sequence: u16, ssrc: u32) -> Vec<u8> {
    let header = Header {
        marker: false,
        payload_type: 8,
        sequence,
        timestamp: 160,
        ssrc,
    };
    let mut buffer = [0; 200];
    header
        .write(b"what was said", &mut buffer)
        .unwrap()
        .to_vec()
}

/// Encrypts a packet.
fn sealed(sender: &mut SrtpSender, mut packet: Vec<u8>) -> Result<Vec<u8>, SrtpError> {
    let length = packet.len();
    packet.resize(length + SRTP_OVERHEAD, 0);
    let length = sender.seal(&mut packet, length)?;
    packet.truncate(length);
    Ok(packet)
}

fn opened(receiver: &mut SrtpReceiver, sealed: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut packet = sealed.to_vec();
    let length = receiver.open(&mut packet)?;
    packet.truncate(length);
    Ok(packet)
}

#[test]
fn an_encrypted_packet_is_accepted_once_and_hides_its_content() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let plain = packet(7, 9);
        let sealed = sealed(&mut sender, plain.clone()).unwrap();
        assert!(!sealed.windows(4).any(|part| part == b"what"));
        assert_eq!(opened(&mut receiver, &sealed), Ok(plain));
        assert_eq!(opened(&mut receiver, &sealed), Err(SrtpError::Replayed));
    }
}

#[test]
fn a_changed_packet_or_another_key_fails_authentication() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let sealed = sealed(&mut sender, packet(7, 9)).unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 0x10;
            assert!(
                opened(&mut receiver, &changed).is_err(),
                "{suite:?} {place}"
            );
        }
        let mut other = SrtpReceiver::new(suite, &vec![1; suite.key_length()]).unwrap();
        assert_eq!(opened(&mut other, &sealed), Err(SrtpError::Unauthenticated));
        assert!(
            opened(&mut receiver, &sealed).is_ok(),
            "forged packets do not advance the window"
        );
    }
}

#[test]
fn sequence_numbers_roll_over_through_loss_and_reordering() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let mut sequence = 0xff00u16;
        for step in 0..1000u16 {
            let (first, second) = (sequence, sequence.wrapping_add(1));
            let first_packet = sealed(&mut sender, packet(first, 9)).unwrap();
            let second_packet = sealed(&mut sender, packet(second, 9)).unwrap();
            // The second packet overtakes the first; every seventh pair is lost.
            if !step.is_multiple_of(7) {
                assert_eq!(opened(&mut receiver, &second_packet), Ok(packet(second, 9)));
                assert_eq!(opened(&mut receiver, &first_packet), Ok(packet(first, 9)));
            }
            sequence = sequence.wrapping_add(100);
        }
    }
}

#[test]
fn no_number_is_encrypted_twice() {
    let (mut sender, _) = pair(SrtpSuite::AesCm128HmacSha1_80);
    sealed(&mut sender, packet(7, 9)).unwrap();
    sealed(&mut sender, packet(8, 9)).unwrap();
    assert_eq!(sealed(&mut sender, packet(7, 9)), Err(SrtpError::Replayed));
}

#[test]
fn reports_are_numbered_and_accepted_once() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let plain = [
            &[0x80, 201, 0, 1, 0, 0, 0, 9][..],
            &[0x81, 202, 0, 1, 0, 0, 0, 9],
        ]
        .concat();
        let mut before = Vec::new();
        for _ in 0..3 {
            let mut buffer = plain.clone();
            buffer.resize(plain.len() + SRTP_OVERHEAD, 0);
            let length = sender.seal_rtcp(&mut buffer, plain.len()).unwrap();
            buffer.truncate(length);
            assert_ne!(buffer, before);
            before.clone_from(&buffer);
            let mut again = buffer.clone();
            assert_eq!(receiver.open_rtcp(&mut buffer), Ok(plain.len()));
            assert_eq!(buffer[..plain.len()], plain);
            assert_eq!(receiver.open_rtcp(&mut again), Err(SrtpError::Replayed));
        }
        let mut forged = before.clone();
        let index = forged.len() - 12;
        forged[index] ^= 1;
        assert!(receiver.open_rtcp(&mut forged).is_err());
    }
}

#[test]
fn sources_are_independent_and_their_number_is_limited() {
    let (_, mut receiver) = pair(SrtpSuite::AeadAes128Gcm);
    for ssrc in 0..17 {
        let (mut sender, _) = pair(SrtpSuite::AeadAes128Gcm);
        let outcome = opened(
            &mut receiver,
            &sealed(&mut sender, packet(60_000, ssrc)).unwrap(),
        );
        assert_eq!(outcome.is_ok(), ssrc < 16, "{ssrc}");
    }
}

#[test]
fn a_header_with_sources_and_extension_is_not_encrypted() {
    let plain = [
        &[0x91, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9][..],
        &[7; 4],
        &[0xbe, 0xde, 0, 1, 1, 2, 3, 4],
        b"sound",
    ]
    .concat();
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let sealed = sealed(&mut sender, plain.clone()).unwrap();
        assert_eq!(sealed[..24], plain[..24]);
        assert_ne!(sealed[24..29], plain[24..]);
        assert_eq!(opened(&mut receiver, &sealed), Ok(plain.clone()));
    }
}

#[test]
fn a_key_of_another_length_is_rejected() {
    for suite in SUITES {
        assert!(SrtpSender::new(suite, &vec![0; suite.key_length() + 1]).is_none());
        assert!(SrtpReceiver::new(suite, &[]).is_none());
    }
}

#[test]
fn without_space_for_the_tag_encryption_fails() {
    for suite in SUITES {
        let (mut sender, _) = pair(suite);
        let mut full = packet(7, 9);
        let length = full.len();
        assert_eq!(sender.seal(&mut full, length), Err(SrtpError::NoRoom));
    }
}

proptest! {
    #[test]
    fn any_octets_are_accepted_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..200), suite in 0usize..4) {
        let (mut sender, mut receiver) = pair(SUITES[suite]);
        prop_assert!(receiver.open(&mut octets.clone()).is_err());
        prop_assert!(receiver.open_rtcp(&mut octets.clone()).is_err());
        let _ = sender.seal(&mut octets.clone(), octets.len());
        let _ = sender.seal_rtcp(&mut octets.clone(), octets.len());
        let _ = sender.seal(&mut octets.clone(), octets.len() / 2);
    }
}
