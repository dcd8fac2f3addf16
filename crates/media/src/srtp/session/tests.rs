use aws_lc_rs::aead;

use super::super::keys::{AUTHENTICATION, ENCRYPTION, GcmKeys, SALT, apply_key_stream};
use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

const MASTER: &str = "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6";

#[test]
fn the_key_stream_matches_rfc_3711_appendix_b2() {
    let key = counter_key(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let block: [u8; 16] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
    let mut data = vec![0; 0xff02 * 16];
    apply_key_stream(&key, block, &mut data).unwrap();
    assert_eq!(
        data[..48],
        hex(
            "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0"
        )
    );
    assert_eq!(
        data[0xfeff * 16..],
        hex(
            "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44"
        )
    );
}

#[test]
fn derived_keys_match_rfc_3711_appendix_b3() {
    let master = hex(MASTER);
    let master = MasterKey {
        key: counter_key(&master[..16]).unwrap(),
        salt: padded(&master[16..]),
    };
    assert_eq!(
        master.derive::<16>(ENCRYPTION).unwrap(),
        *hex("C61E7A93744F39EE10734AFE3FF7A087")
    );
    assert_eq!(
        master.derive::<14>(SALT).unwrap(),
        *hex("30CBBC08863D8C85D49DB34A9AE1")
    );
    let expected = hex(
        "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE E049646C43D9327AD175578EF7227098
         6371C10C9A369AC2F94A8C5FBCDDDC25 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2",
    );
    assert_eq!(master.derive::<94>(AUTHENTICATION).unwrap(), *expected);
}

/// Test packets of the reference implementation, libsrtp `srtp_validate`.
#[test]
fn packets_in_counter_mode_match_the_reference_implementation() {
    let session = Session::derive(SrtpSuite::AesCm128HmacSha1_80, &hex(MASTER)).unwrap();
    let mut buffer = hex("800f1234decafbadcafebabe abababababababababababababababab");
    buffer.resize(60, 0);
    let length = session
        .seal_rtp(&mut buffer, 12, 28, 0xcafe_babe, 0x1234)
        .unwrap();
    let sealed =
        hex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    assert_eq!(buffer[..length], sealed);
    assert_eq!(
        session.open_rtp(&mut buffer[..length], 12, 0xcafe_babe, 0x1234),
        Ok(28)
    );
    assert_eq!(buffer[12..28], [0xab; 16]);
    let mut buffer = hex("81c8000bcafebabe abababababababababababababababab");
    buffer.resize(60, 0);
    let length = session
        .seal_rtcp(&mut buffer, 8, 24, 0xcafe_babe, 1)
        .unwrap();
    let sealed =
        hex("81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798");
    assert_eq!(buffer[..length], sealed);
    assert_eq!(session.rtcp_index(&sealed), Some(0x8000_0001));
    assert_eq!(
        session.open_rtcp(&mut buffer[..length], 8, 0xcafe_babe, 0x8000_0001),
        Ok(24)
    );
}

fn gcm(key: &str) -> Session {
    let key = hex(key);
    let algorithm = if key.len() == 32 {
        &aead::AES_256_GCM
    } else {
        &aead::AES_128_GCM
    };
    let salt: [u8; 12] = hex("517569642070726f2071756f").try_into().unwrap();
    let keys = || PacketKeys::Gcm(GcmKeys::new(algorithm, &key, salt).unwrap());
    Session {
        rtp: keys(),
        rtcp: keys(),
    }
}

const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
fn gcm_packets_match_rfc_7714_section_16() {
    let plain = hex(
        "8040f17b8041f8d35501a0b2 47616c6c696120657374206f6d6e6973 2064697669736120696e207061727465 732074726573",
    );
    for (key, sealed) in [
        (
            KEY_128,
            "8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bca be633bd50d294e6f42a5f47a51c7d19b
             36de3adf8833 899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            KEY_256,
            "8040f17b8041f8d35501a0b2 32b1de78a822fe12ef9f78fa332e33aa b18012389a58e2f3b50b2a0276ffae0f
             1ba63799b87b 7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ] {
        let session = gcm(key);
        let mut buffer = plain.clone();
        buffer.resize(100, 0);
        let length = session.seal_rtp(&mut buffer, 12, plain.len(), 0x5501_a0b2, 0xf17b).unwrap();
        assert_eq!(buffer[..length], hex(sealed));
        assert_eq!(session.open_rtp(&mut buffer[..length], 12, 0x5501_a0b2, 0xf17b), Ok(plain.len()));
        assert_eq!(buffer[..plain.len()], plain);
    }
}

#[test]
fn a_gcm_report_matches_rfc_7714_section_17() {
    let plain = hex(
        "81c8000d4d617273 4e5450314e545032525450200000042a 0000e9304c756e61deadbeefdeadbeef deadbeefdeadbeefdeadbeef",
    );
    let sealed = hex(
        "81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e99 7ff5c0f76c06f32dc676a5f1730d6fda 4ce09b4686303ded0bb9275b
         c84aa45896cf4d2fc5abf87245d9eade 800005d4",
    );
    let session = gcm(KEY_128);
    let mut buffer = plain.clone();
    buffer.resize(100, 0);
    let length = session
        .seal_rtcp(&mut buffer, 8, plain.len(), 0x4d61_7273, 0x5d4)
        .unwrap();
    assert_eq!(buffer[..length], sealed);
    assert_eq!(
        session.open_rtcp(&mut buffer[..length], 8, 0x4d61_7273, 0x8000_05d4),
        Ok(plain.len())
    );
    assert_eq!(buffer[..plain.len()], plain);
}
