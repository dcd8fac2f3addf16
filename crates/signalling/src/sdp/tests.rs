use super::*;

const OFFER: &str = "v=0\r\no=alice 1 1 IN IP4 192.0.2.1\r\ns=secret name\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=video 9000 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n\
    m=audio 4000 RTP/AVP 18 0 8 97\r\na=rtpmap:97 telephone-event/8000\r\na=sendonly\r\n";

fn local() -> LocalMedia {
    let (address, secrets) = ("127.0.0.1".parse().unwrap(), Secrets::new([7; 132]));
    LocalMedia {
        address,
        port: 20000,
        session_id: 7,
        version: 1,
        comfort_noise: false,
        srtp: SrtpMode::Off,
        secrets,
    }
}

fn events_at(payload_type: u8, rate: u32) -> Option<TelephoneEventFormat> {
    Some(TelephoneEventFormat { payload_type, rate })
}

const OPUS_OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 111 13 110 126\r\na=rtpmap:111 OPUS/48000/2\r\n\
    a=fmtp:111 minptime=10; useinbandfec=1;maxaveragebitrate=16000;stereo=1;cbr=1\r\n\
    a=rtpmap:126 telephone-event/8000\r\na=rtpmap:110 telephone-event/48000\r\na=maxptime:60\r\n";

#[test]
fn opus_is_answered_with_the_peers_payload_type_and_events_of_the_same_clock_rate() {
    let offer = Description::parse(OPUS_OFFER.as_bytes()).unwrap();
    let remote = offer.remote();
    assert_eq!((remote.codec, remote.payload_type), (Codec::Opus, 111));
    assert_eq!(
        (remote.telephone_event, remote.comfort_noise),
        (events_at(110, 48_000), false)
    );
    let wishes = OpusParameters {
        max_average_bit_rate: Some(16_000),
        inband_fec: true,
        constant_bit_rate: true,
        stereo: true,
    };
    assert_eq!(remote.opus, wishes);
    assert_eq!(
        wishes.fmtp(),
        "useinbandfec=1;maxaveragebitrate=16000;cbr=1;stereo=1"
    );
    assert_eq!(OpusParameters::default().fmtp(), "useinbandfec=0");
    let answer = offer.answer(&local(), Codec::Opus);
    let expected = "m=audio 20000 RTP/AVP 111 110\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n\
         a=rtpmap:110 telephone-event/48000\r\na=fmtp:110 0-15\r\na=ptime:20\r\na=sendrecv\r\n";
    assert!(answer.ends_with(expected), "{answer}");
}

#[test]
fn opus_is_answered_only_without_alternative_or_on_request_of_the_trunk() {
    let both = OPUS_OFFER.replace("RTP/AVP 111", "RTP/AVP 111 0");
    let offer = Description::parse(both.as_bytes()).unwrap();
    let remote = offer.remote();
    assert_eq!(
        (remote.codec, remote.telephone_event),
        (Codec::Pcmu, events_at(126, 8000))
    );
    assert_eq!(
        (remote.opus, remote.comfort_noise),
        (OpusParameters::default(), true)
    );
    assert_eq!(offer.remote_preferring(Codec::Opus).payload_type, 111);
    let chosen = offer
        .restrict_to(&[Codec::Opus, Codec::Pcmu])
        .unwrap()
        .remote();
    assert_eq!(
        (chosen.codec, chosen.telephone_event),
        (Codec::Opus, events_at(110, 48_000))
    );
}

#[test]
fn a_format_similar_to_opus_is_not_opus() {
    let codec = |from: &str, to: &str| {
        Description::parse(OPUS_OFFER.replace(from, to).as_bytes())
            .map(|offer| offer.remote().codec)
    };
    for (from, to) in [
        ("OPUS/48000/2", "opus/48000"),
        ("OPUS/48000/2", "opus/16000/2"),
        ("rtpmap:111", "rtpmap:112"),
        ("maxptime:60", "maxptime:10"),
    ] {
        assert_eq!(codec(from, to), Err(SdpError::NoCodec), "{to}");
    }
    assert_eq!(codec("maxptime:60", "maxptime:20"), Ok(Codec::Opus));
    // Events with a different clock rate are used if no others exist.
    let other = OPUS_OFFER.replace("110 telephone-event/48000", "110 telephone-event/16000");
    let remote = Description::parse(other.as_bytes()).unwrap().remote();
    assert_eq!(remote.telephone_event, events_at(126, 8000));
}

#[test]
fn opus_is_offered_if_the_other_leg_uses_it_or_the_trunk_names_it() {
    let text = offer(&local(), Codec::Opus, &[]);
    let expected = "m=audio 20000 RTP/AVP 96 8 0 97 101\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n";
    assert!(text.contains(expected), "{text}");
    let named = offer(&local(), Codec::Pcma, &[Codec::Pcma, Codec::Opus]);
    assert!(
        named.contains("m=audio 20000 RTP/AVP 8 96 101 97\r\n"),
        "{named}"
    );
    assert!(!offer(&local(), Codec::Pcma, &[]).contains("opus"));
    let ours = Description::parse(text.as_bytes()).unwrap();
    assert_eq!(ours.remote().codec, Codec::Pcma, "Opus comes last");
    assert_eq!(
        ours.answered().codec,
        Codec::Opus,
        "an answer names the codec chosen by the peer"
    );
    let taken = ours.remote_preferring(Codec::Opus);
    assert_eq!(
        (taken.payload_type, taken.telephone_event),
        (96, events_at(97, 48_000))
    );
}

#[test]
fn an_answer_accepts_one_codec_and_rejects_all_other_streams() {
    let offer = Description::parse(OFFER.as_bytes()).unwrap();
    let remote = offer.remote();
    assert_eq!(remote.rtp, "192.0.2.1:4000".parse().unwrap());
    assert_eq!(remote.rtcp, Some("192.0.2.1:4001".parse().unwrap()));
    assert_eq!(
        (remote.codec, remote.telephone_event),
        (Codec::Pcmu, events_at(97, 8000))
    );
    assert_eq!((remote.send, remote.receive), (false, true));
    assert_eq!(
        offer.answer(&local(), remote.codec),
        "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=video 0 RTP/AVP 99\r\n\
         m=audio 20000 RTP/AVP 0 97\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-15\r\na=ptime:20\r\na=recvonly\r\n"
    );
}

#[test]
fn g722_is_offered_if_preferred_with_a_clock_rate_of_8000() {
    let text = offer(&local(), Codec::G722, &[]);
    assert!(
        text.contains("m=audio 20000 RTP/AVP 9 8 0 101\r\na=rtpmap:9 G722/8000\r\n"),
        "{text}"
    );
    let description = Description::parse(text.as_bytes()).unwrap();
    assert_eq!(description.remote().codec, Codec::G722);
    assert!(
        description
            .answer(&local(), Codec::G722)
            .contains("m=audio 20000 RTP/AVP 9 101\r\n")
    );
    assert!(!offer(&local(), Codec::Pcmu, &[]).contains("G722"));
}

#[test]
fn a_trunk_restricts_the_codecs_and_sets_their_order() {
    let allowed = [Codec::G722, Codec::Pcma];
    let text = offer(&local(), Codec::Pcmu, &allowed);
    assert!(text.contains("m=audio 20000 RTP/AVP 9 8 101\r\n"), "{text}");
    let theirs = Description::parse(OFFER.as_bytes()).unwrap();
    assert_eq!(theirs.remote().codec, Codec::Pcmu);
    let chosen = theirs.clone().restrict_to(&allowed).unwrap();
    assert_eq!(
        chosen.remote().codec,
        Codec::Pcma,
        "codecs not allowed are skipped"
    );
    assert_eq!(chosen.remote_preferring(Codec::Pcmu).codec, Codec::Pcma);
    assert_eq!(
        theirs.restrict_to(&[Codec::G722]).unwrap_err(),
        SdpError::NoCodec
    );
}

#[test]
fn comfort_noise_is_answered_if_offered_and_offered_if_configured() {
    let with = OFFER.replace("18 0 8 97", "18 0 8 13 97");
    for (body, offered) in [(with.as_str(), true), (OFFER, false)] {
        let description = Description::parse(body.as_bytes()).unwrap();
        assert_eq!(description.remote().comfort_noise, offered);
        let answer = description.answer(&local(), Codec::Pcmu);
        let line = if offered {
            "RTP/AVP 0 13 97\r\n"
        } else {
            "RTP/AVP 0 97\r\n"
        };
        assert!(answer.contains(line), "{answer}");
        assert_eq!(answer.contains("a=rtpmap:13 CN/8000\r\n"), offered);
        let ours = offer(
            &LocalMedia {
                comfort_noise: offered,
                ..local()
            },
            Codec::Pcma,
            &[],
        );
        assert_eq!(ours.contains("RTP/AVP 8 0 13 101\r\n"), offered, "{ours}");
        assert_eq!(
            Description::parse(ours.as_bytes())
                .unwrap()
                .remote()
                .comfort_noise,
            offered
        );
    }
}

#[test]
fn a_local_offer_parses() {
    let description = Description::parse(offer(&local(), Codec::Pcma, &[]).as_bytes()).unwrap();
    assert_eq!(description.remote().codec, Codec::Pcma);
    assert_eq!(
        description.remote_preferring(Codec::Pcmu).codec,
        Codec::Pcmu
    );
    assert_eq!(description.remote().telephone_event, events_at(101, 8000));
    assert!(description.remote().send && description.remote().receive);
}

#[test]
fn an_unusable_description_has_a_specific_error() {
    let without =
        |from: &str, to: &str| Description::parse(OFFER.replace(from, to).as_bytes()).unwrap_err();
    assert_eq!(
        Description::parse(b"hello").unwrap_err(),
        SdpError::Malformed
    );
    assert_eq!(without("18 0 8 97", "18 97"), SdpError::NoCodec);
    assert_eq!(without("m=audio 4000", "m=audio 0"), SdpError::NoAudio);
    assert_eq!(
        without("c=IN IP4 192.0.2.1", "c=IN IP4 host.example"),
        SdpError::NoAudio
    );
    assert_eq!(
        without("audio 4000 RTP/AVP", "audio 4000 RTP/SAVP"),
        SdpError::NoKey
    );
    assert_eq!(
        without("audio 4000 RTP/AVP", "audio 4000 UDP/TLS/RTP/SAVP"),
        SdpError::NoAudio
    );
}

const CRYPTO: &str = "a=crypto:9 F8_128_HMAC_SHA1_80 inline:x\r\n\
    a=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";

fn with_keys(protocol: &str) -> Description {
    let offer = OFFER.replace("audio 4000 RTP/AVP", &format!("audio 4000 {protocol}"));
    Description::parse(format!("{offer}{CRYPTO}").as_bytes()).unwrap()
}

fn local_with(srtp: SrtpMode) -> LocalMedia {
    LocalMedia { srtp, ..local() }
}

#[test]
fn an_encrypted_offer_is_answered_with_the_local_key_for_the_same_line() {
    for mode in [SrtpMode::Off, SrtpMode::Optional, SrtpMode::Required] {
        let offer = with_keys("RTP/SAVP");
        let key = offer.offered_key(&local_with(mode)).unwrap().unwrap();
        assert_eq!(key.expose(), b"YS___semctl () {\t220;}\n}\nunles");
        assert_eq!(offer.remote().crypto, Some(key));
        let answer = offer.answer(&local_with(mode), Codec::Pcma);
        assert!(
            answer.contains("m=audio 20000 RTP/SAVP 8 97\r\n"),
            "{answer}"
        );
        let ours = "a=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\r\n";
        assert!(answer.contains(ours), "{answer}");
        assert_eq!(answer.matches("a=crypto").count(), 1);
    }
}

#[test]
fn keys_in_an_unencrypted_offer_are_used_if_configured() {
    let offer = with_keys("RTP/AVP");
    assert_eq!(
        (
            offer.remote().crypto,
            offer.offered_key(&local_with(SrtpMode::Off))
        ),
        (None, Ok(None))
    );
    assert!(
        !offer
            .answer(&local_with(SrtpMode::Off), Codec::Pcma)
            .contains("crypto")
    );
    assert!(
        offer
            .offered_key(&local_with(SrtpMode::Optional))
            .unwrap()
            .is_some()
    );
    let answer = offer.answer(&local_with(SrtpMode::Optional), Codec::Pcma);
    assert!(
        answer.contains("RTP/AVP 8 97\r\n") && answer.contains("a=crypto:4 "),
        "{answer}"
    );
    assert_eq!(
        offer.offered_key(&local_with(SrtpMode::Required)),
        Err(SdpError::NoKey)
    );
}

#[test]
fn an_encrypted_stream_is_preferred_to_an_unencrypted_one() {
    let both = format!("{OFFER}m=audio 4002 RTP/SAVP 8\r\n{CRYPTO}");
    let description = Description::parse(both.as_bytes()).unwrap();
    assert!(description.is_secure());
    assert_eq!(description.remote().rtp.port(), 4002);
    let unspoken = format!("{OFFER}m=audio 4002 RTP/SAVP 8\r\n");
    assert_eq!(
        Description::parse(unspoken.as_bytes())
            .unwrap()
            .remote()
            .rtp
            .port(),
        4000
    );
}

#[test]
fn an_answer_must_match_the_offer() {
    for (mode, protocol) in [
        (SrtpMode::Optional, "RTP/AVP"),
        (SrtpMode::Required, "RTP/SAVP"),
    ] {
        let ours = local_with(mode);
        let offered = offer(&ours, Codec::Pcma, &[]);
        assert!(
            offered.contains(&format!("m=audio 20000 {protocol} 8 0 101\r\n")),
            "{offered}"
        );
        assert_eq!(offered.matches("a=crypto").count(), 3);
        let theirs = LocalMedia {
            secrets: Secrets::new([9; 132]),
            ..ours
        };
        let answer = Description::parse(offered.as_bytes())
            .unwrap()
            .answer(&theirs, Codec::Pcma);
        let key = Description::parse(answer.as_bytes())
            .unwrap()
            .answered_key(&ours)
            .unwrap()
            .unwrap();
        assert_eq!(key.expose(), [9; 30]);
        let renumbered = answer.replace("a=crypto:1 ", "a=crypto:2 ");
        let found = Description::parse(renumbered.as_bytes())
            .unwrap()
            .answered_key(&ours);
        let expected = if mode == SrtpMode::Optional {
            Ok(None)
        } else {
            Err(SdpError::NoKey)
        };
        assert_eq!(found, expected);
    }
    assert_eq!(
        with_keys("RTP/SAVP").answered_key(&local()),
        Err(SdpError::NoKey)
    );
    assert_eq!(with_keys("RTP/AVP").answered_key(&local()), Ok(None));
}

#[test]
fn an_unspecified_address_is_a_hold() {
    let held = OFFER
        .replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0")
        .replace("a=sendonly\r\n", "");
    let remote = Description::parse(held.as_bytes()).unwrap().remote();
    assert_eq!((remote.send, remote.receive), (false, true));
}

proptest::proptest! {
    #[test]
    fn no_input_makes_the_parser_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = Description::parse(&bytes);
    }
}

#[test]
fn lines_that_say_nothing_of_the_media_are_ignored_whatever_their_content() {
    for (from, to) in [
        ("v=0\r\n", "v=0 \r\n"),
        ("s=", "o=\r\ns="),
        ("s=", "o=- 1 19599440071187478912 IN IP4\r\ns="),
        ("s=", "o=a b c -5\r\ns="),
        ("t=0 0", "b=CT:-1\r\nt="),
        ("t=0 0", "r=x\r\nz=\r\nk=\r\nu=\r\nno line\r\n a=x\r\n"),
        (
            "a=sendonly",
            "b=AS:64.5\r\na=\r\na=label:\u{e9}\r\na=sendonly",
        ),
    ] {
        let changed = OFFER.replace(from, to);
        // Latin-1, as far as it has such characters.
        let latin: Vec<u8> = changed.chars().map(|c| c as u8).collect();
        let read = Description::parse(&latin).map(|description| description.remote());
        let expected = Description::parse(OFFER.as_bytes()).map(|description| description.remote());
        assert_eq!(read, expected, "{to}");
    }
    let with_end = format!("{OFFER}\0");
    assert!(Description::parse(with_end.as_bytes()).is_ok());
}

#[test]
fn a_stream_that_cannot_be_read_is_rejected_in_the_answer_and_the_audio_accepted() {
    for (line, answered) in [
        (
            "m=application 9 TCP/MRCPv2",
            "m=application 0 TCP/MRCPv2 0\r\n",
        ),
        ("m=video 70000 RTP/AVP 31", "m=video 0 RTP/AVP 31\r\n"),
    ] {
        let offer = format!("{OFFER}{line}\r\na=setup:active\r\nc=IN\r\n");
        let description = Description::parse(offer.as_bytes()).unwrap();
        let answer = description.answer(&local(), Codec::Pcma);
        assert!(answer.ends_with(answered), "{answer}");
    }
    assert_eq!(
        Description::parse(format!("{OFFER}m=video\r\n").as_bytes()).unwrap_err(),
        SdpError::Malformed
    );
}

#[test]
fn g711_under_a_dynamic_number_is_answered_with_that_number() {
    let offer = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                 m=audio 4000 RTP/AVP 107 108\r\na=rtpmap:107 G729/8000\r\na=rtpmap:108 pcma/8000/1\r\n";
    let description = Description::parse(offer.as_bytes()).unwrap();
    let remote = description.remote();
    assert_eq!((remote.codec, remote.payload_type), (Codec::Pcma, 108));
    let answer = description.answer(&local(), Codec::Pcma);
    assert!(
        answer.contains(" RTP/AVP 108\r\na=rtpmap:108 PCMA/8000\r\n"),
        "{answer}"
    );
}

#[test]
fn a_later_offer_may_remove_the_audio() {
    let removed = OFFER.replace("m=audio 4000", "m=audio 0");
    assert_eq!(
        Description::parse(removed.as_bytes()).unwrap_err(),
        SdpError::NoAudio
    );
    let description = Description::parse_later_offer(removed.as_bytes()).unwrap();
    let description = description.restrict_to(&[Codec::G722]).unwrap();
    let remote = description.remote();
    assert!(!remote.send && !remote.receive && remote.rtcp.is_none());
    let answer = description.answer(&local(), Codec::Pcma);
    assert!(
        answer.ends_with("m=video 0 RTP/AVP 99\r\nm=audio 0 RTP/AVP 18\r\n"),
        "{answer}"
    );
    let kept = Description::parse_later_offer(OFFER.as_bytes()).unwrap();
    assert!(
        kept.answer(&local(), Codec::Pcma)
            .contains("m=audio 20000 ")
    );
    let no_audio = removed.replace("m=audio", "m=text");
    assert_eq!(
        Description::parse_later_offer(no_audio.as_bytes()).unwrap_err(),
        SdpError::NoAudio
    );
}
