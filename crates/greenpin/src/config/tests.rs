//! Tests of the configuration: defaults, values, and the errors of wrong ones.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStringExt as _;

use super::*;

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::read("greenpin.toml", text, [])
}

/// Returns the listen addresses as in the file.
fn addresses(config: &Config) -> Vec<String> {
    config.sip.listen.iter().map(ToString::to_string).collect()
}

fn error(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_gives_the_documented_defaults() {
    let config = Config::default();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.store.database.to_string(), "sqlite:data/greenpin.db");
    assert_eq!(config.store.key_file, Path::new("data/master.key"));
    assert_eq!(
        addresses(&config),
        ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
    );
    assert_eq!(config.media.ports, 20_000..=29_999);
    assert!(config.trunks.is_empty() && !config.webhooks_allow_private);
}

#[test]
fn the_documented_file_is_read_whole() {
    let config = read(
        r#"
            [http]
            listen = "127.0.0.1:8081"
            operator_token = "fictional-operator-token"
            rate_limit = 50
            rate_burst = 100
            [store]
            url = "sqlite:elsewhere/greenpin.db"
            [sip]
            listen = ["udp:127.0.0.1:5061", "tcp:127.0.0.1:5061"]
            public_address = "192.0.2.1"
            [media]
            ports = "30000-30999"
            [recordings]
            url = "file:elsewhere/recordings"
            format = "opus"
            [[trunks]]
            name = "carrier"
            codecs = ["opus", "pcma"]
            peer = "sip:127.0.0.1:5070;transport=tcp"
            accept_from = ["127.0.0.1/32", "192.0.2.0/24"]
            username = ""
            password = ""
            register = false
            country = "IN"
            [webhooks]
            allow_private = true
            disable_after = 3
            "#,
    )
    .unwrap();
    assert_eq!(config.store.key_file, Path::new("elsewhere/master.key"));
    assert_eq!(
        config.http.rate_limit,
        RateLimit {
            requests_per_second: 50,
            burst: 100
        }
    );
    assert_eq!(config.sip.public_address.to_string(), "192.0.2.1");
    assert_eq!(config.webhooks_disable_after, 3 * DAY);
    assert_eq!(config.recordings.format, RecordingFormat::Opus);
    let trunk = &config.trunks[0];
    assert_eq!(
        trunk.sip.codecs,
        [signalling::sdp::Codec::Opus, signalling::sdp::Codec::Pcma]
    );
    assert_eq!(
        trunk.sip.peer.as_ref().unwrap().transport,
        signalling::Transport::Tcp
    );
    assert_eq!(
        (trunk.sip.accept_from.len(), trunk.country.is_some()),
        (2, true)
    );
    assert!(
        !format!("{config:?}").contains("fictional"),
        "secrets are not printed"
    );
}

#[test]
fn the_environment_goes_over_the_file() {
    let environment = [
        ("GREENPIN_HTTP__LISTEN", "127.0.0.1:1"),
        ("GREENPIN_SIP__LISTEN", "udp:127.0.0.1:2"),
        ("GREENPIN_TRUNKS__0__NAME", "env"),
        ("GREENPIN_WEBHOOKS__ALLOW_PRIVATE", "true"),
        ("GREENPIN_LOG", "debug"),
        ("PATH", "/bin"),
    ];
    let environment = environment.map(|(key, value)| (key.into(), value.into()));
    let config = Config::read("", "http.listen = \"127.0.0.1:9\"", environment).unwrap();
    assert_eq!(
        (config.http.listen.port(), addresses(&config)),
        (1, vec!["udp:127.0.0.1:2".to_owned()])
    );
    assert_eq!(config.trunks[0].name, "env");
    assert!(config.webhooks_allow_private);
}

#[test]
fn a_variable_that_is_not_utf_8_is_a_fault_only_if_it_is_ours() {
    let broken = |start: &str| OsString::from_vec([start.as_bytes(), b"\xff"].concat());
    let others = [
        ("PATH".into(), broken("/bin/")),
        (broken("NAME"), "x".into()),
        (broken("HTTP__LISTEN"), broken("")),
        ("GREENPIN_OTHER".into(), broken("")),
    ];
    assert!(Config::read("", "", others).is_ok());
    let ours = [
        ("GREENPIN_HTTP__LISTEN".into(), broken("127.0.0.1:")),
        (broken("GREENPIN_SIP__LISTEN"), "udp:127.0.0.1:2".into()),
    ];
    let error = Config::read("", "", ours).unwrap_err().to_string();
    assert_eq!(
        error,
        "GREENPIN_HTTP__LISTEN: http.listen must be UTF-8\n\
         GREENPIN_SIP__LISTEN\u{fffd}: sip.listen\u{fffd} must be UTF-8"
    );
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one_and_its_place() {
    let error = error("[http]\nlisten = \"127.0.0.1:1\"\n[sip]\npublic_adress = \"127.0.0.1\"\n");
    assert_eq!(
        error,
        "greenpin.toml:4: unknown key sip.public_adress: did you mean sip.public_address?"
    );
    let environment = [("GREENPIN_HTTP__LISTN".into(), "x".into())];
    let error = Config::read("", "", environment).unwrap_err().to_string();
    assert_eq!(
        error,
        "GREENPIN_HTTP__LISTN: unknown key http.listn: did you mean http.listen?"
    );
}

#[test]
fn a_variable_with_one_underscore_after_its_section_is_a_fault_and_those_of_others_are_not() {
    let read = |names: &[&str]| {
        let environment = names.iter().map(|name| (name.into(), "127.0.0.1:1".into()));
        Config::read("", "", environment)
    };
    let error = read(&["GREENPIN_HTTP_LISTEN", "GREENPIN_STORE_ENCRYPTION_KEY_FILE"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "GREENPIN_HTTP_LISTEN: is not read: did you mean GREENPIN_HTTP__LISTEN?\n\
         GREENPIN_STORE_ENCRYPTION_KEY_FILE: is not read: did you mean GREENPIN_STORE__ENCRYPTION_KEY_FILE?"
    );
    assert!(read(&["GREENPIN_LOG", "GREENPIN_SERVICE_HOST", "GREENPIN_PORT"]).is_ok());
}

#[test]
fn a_value_that_lacks_its_pair_is_named_at_the_line_of_the_other() {
    for (text, expected) in [
        (
            "[http]\nlisten = \"127.0.0.1:1\"\ntls_certificate = \"a.pem\"\n",
            "greenpin.toml:3: http.tls_key must be given together with http.tls_certificate",
        ),
        (
            "[recordings]\nsecret_access_key = \"fictional-secret-key\"\n",
            "greenpin.toml:2: recordings.access_key_id must be given together with recordings.secret_access_key",
        ),
        (
            "[[trunks]]\nname = \"a\"\nusername = \"user\"\n",
            "greenpin.toml:3: trunks.0.password must be given together with trunks.0.username",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn every_fault_is_told_with_its_rule() {
    let text = "http.listen = 7\nmedia.ports = \"9-1\"\n[[trunks]]\npeer = \"sip:192.0.2.256\"\nregister = true\n";
    let error = error(text);
    for expected in [
        "greenpin.toml:1: http.listen must be",
        "greenpin.toml:2: media.ports must be",
        "greenpin.toml:3: trunks.0.name must be given",
        "greenpin.toml:4: trunks.0.peer must be",
        "greenpin.toml:5: trunks.0.register must not",
    ] {
        assert!(error.contains(expected), "{expected} in:\n{error}");
    }
}

#[test]
fn an_operator_token_that_can_be_guessed_is_refused_without_being_told() {
    for token in ["fifteen-letters", "sixteen letters!", ""] {
        let error = error(&format!("http.operator_token = \"{token}\""));
        assert!(
            error.contains("http.operator_token") && error.contains("at least 16"),
            "{error}"
        );
        assert!(token.is_empty() || !error.contains(token), "{error}");
    }
    assert!(read("http.operator_token = \"sixteen-letters!\"").is_ok());
}

#[test]
fn a_database_url_that_cannot_be_read_is_refused_without_being_told() {
    for url in [
        "postgres://u:p@h/d?sslmode=perhaps",
        "postgres:///d",
        "mysql://u:p@h/d",
    ] {
        let error = error(&format!("store.url = \"{url}\""));
        assert!(
            error.contains("store.url") && !error.contains("u:p@h"),
            "{error}"
        );
    }
}

#[test]
fn an_authority_of_the_database_is_for_an_encrypted_way_to_it() {
    let server = |query: &str| {
        format!("recordings.shared = true\nstore.url = \"postgres://u:p@h/d{query}\"\n")
    };
    let url = |mode: &str| server(mode) + "store.tls_ca = \"ca.pem\"";
    for mode in ["require", "verify-ca", "verify-full"] {
        let config = read(&url(&format!("?sslmode={mode}"))).unwrap();
        assert!(config.store.database.is_encrypted(), "{mode}");
    }
    let named = read(&server("?sslmode=verify-full&sslrootcert=/etc/my%20ca.pem"));
    assert_eq!(named.unwrap().store.tls_ca, Some("/etc/my ca.pem".into()));
    for (query, named) in [
        ("pgbouncer=true", "\"pgbouncer\""),
        ("statement_timeout=5", "\"statement_timeout\""),
        ("sslmode=perhaps", "sslmode"),
        ("sslrootcert=ca.pem", "sslmode=require"),
    ] {
        let error = error(&server(&format!("?{query}")));
        assert!(error.contains(named) && !error.contains("u:p"), "{error}");
    }
    assert!(error(&url("")).contains("store.tls_ca"));
}

#[test]
fn a_folder_of_recordings_beside_a_database_server_is_declared_as_shared() {
    let url = "store.url = \"postgres://u:p@h/d\"\n";
    let folder = "recordings.url = \"file:recordings\"\n";
    assert!(error(&format!("{url}{folder}")).contains("recordings.shared = true"));
    for text in ["", folder] {
        assert!(read(&format!("{url}{text}recordings.shared = true")).is_ok());
        assert!(read(text).is_ok());
    }
    // Each node has a folder of its own.
    assert!(!read(url).unwrap().recordings.shared);
    assert!(read(&format!("{url}recordings.url = \"s3://bucket\"")).is_ok());
}

#[test]
fn a_peer_is_an_address_or_a_name_over_each_transport() {
    let read = |peer: &str| {
        let config = read(&format!("[[trunks]]\nname = \"a\"\npeer = \"{peer}\"")).ok()?;
        trunk::peer_uri(config.trunks.first()?)
    };
    for (written, shown) in [
        ("sip:192.0.2.1", "sip:192.0.2.1:5060;transport=udp"),
        (
            "sip:192.0.2.1;transport=tls",
            "sip:192.0.2.1:5061;transport=tls",
        ),
        (
            "sip:[2001:db8::1]:5070;transport=tcp",
            "sip:[2001:db8::1]:5070;transport=tcp",
        ),
        ("sip:carrier.example", "sip:carrier.example"),
        (
            "sip:carrier.example;transport=udp",
            "sip:carrier.example;transport=udp",
        ),
        (
            "sip:carrier.example:5070;transport=TCP",
            "sip:carrier.example:5070;transport=tcp",
        ),
        ("sips:carrier.example", "sip:carrier.example;transport=tls"),
    ] {
        assert_eq!(read(written).as_deref(), Some(shown), "{written}");
    }
    for wrong in [
        "carrier.example",
        "sip:",
        "sip:192.0.2.256",
        "sip:carrier..example",
        "sip:-carrier.example",
        "sip:carrier_1.example",
        "sip:carrier.example:0",
        "sip:carrier.example:99999",
        "sip:user@carrier.example",
        "sip:carrier.example;transport=sctp",
        "sips:carrier.example;transport=udp",
    ] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of wrong values")]
fn a_value_that_breaks_its_rule_is_reported_by_its_key() {
    for (text, key) in [
        (
            "[[trunks]]\nname = \"a\"\nnumber_format = \"national\"",
            "trunks.0.number_format",
        ),
        (
            "[[trunks]]\nname = \"a\"\nprefix = \"9\"",
            "trunks.0.prefix",
        ),
        (
            "[[trunks]]\nname = \"a\"\nmax_calls = 0",
            "trunks.0.max_calls",
        ),
        (
            "[[trunks]]\nname = \"a\"\nmax_calls_per_second = 0",
            "trunks.0.max_calls_per_second",
        ),
        ("[[trunks]]\nname = \"a\"\ncodecs = []", "trunks.0.codecs"),
        (
            "[[trunks]]\nname = \"a\"\ncodecs = [\"pcma\", \"speex\"]",
            "trunks.0.codecs",
        ),
        ("[recordings]\nformat = \"ogg\"", "recordings.format"),
        (
            "[[trunks]]\nname = \"a\"\ncodecs = [\"pcma\", \"pcma\"]",
            "trunks.0.codecs",
        ),
        (
            "[[trunks]]\nname = \"a\"\naccept_digest = [\"sha-1\"]",
            "trunks.0.accept_digest",
        ),
        (
            "[[trunks]]\nname = \"a\"\ncaller_from = \"contact\"",
            "trunks.0.caller_from",
        ),
        (
            "[[trunks]]\nname = \"a\"\ncalled_from = \"from\"",
            "trunks.0.called_from",
        ),
        (
            "[[trunks]]\nname = \"a\"\naccept_username = \"pbx\"",
            "trunks.0.accept_username",
        ),
        (
            "[[trunks]]\nname = \"a\"\naccept_username = \"p\"\naccept_password = \"too short\"",
            "trunks.0.accept_password",
        ),
        (
            "[[trunks]]\nname = \"a\"\noutbound_proxy = \"sip:192.0.2.1\"",
            "trunks.0.outbound_proxy",
        ),
        (
            "[[trunks]]\nname = \"a\"\npeer = \"sip:192.0.2.1\"\ntls_ca = \"ca.pem\"",
            "trunks.0.tls_ca",
        ),
        (
            "[[trunks]]\nname = \"a\"\nmedia = \"direct\"\nsymmetric_rtp = true",
            "trunks.0.media",
        ),
        (
            "[[trunks]]\nname = \"a\"\nmedia = \"direct\"\nsrtp = \"required\"",
            "trunks.0.media",
        ),
        (
            "sip.listen = [\"udp:127.0.0.1:5060\", \"tls:127.0.0.1:5061\"]",
            "sip.tls_certificate",
        ),
        ("sip.tls_certificate = \"a.pem\"", "sip.tls_certificate"),
        (
            "sip.tls_certificate = \"a.pem\"\nsip.tls_key = \"b.pem\"",
            "sip.tls_certificate",
        ),
        ("sip.tls_client_ca = \"ca.pem\"", "sip.tls_client_ca"),
        (
            "[[trunks]]\nname = \"a\"\ntls_peer_name = \"sbc.example\"",
            "trunks.0.tls_peer_name",
        ),
        (
            "[[trunks]]\nname = \"a\"\ntls_peer_name = \"a b\"",
            "trunks.0.tls_peer_name",
        ),
        (
            "[[trunks]]\nname = \"a\"\nmedia_ports = \"29000-30999\"",
            "trunks.0.media_ports",
        ),
        ("sip.silence = [\"sctp\"]", "sip.silence"),
        (
            "[[trunks]]\nname = \"a\"\n[[trunks]]\nname = \"a\"",
            "trunks.1.name",
        ),
        ("[trunks]\nname = \"a\"", "trunks"),
        ("sip.timer_t1 = 50", "sip.timer_t1"),
        ("sip.timer_t2 = 500", "sip.timer_t2"),
        ("sip.timer_t1 = 2000\nsip.timer_t2 = 1000", "sip.timer_t2"),
        (
            "[[trunks]]\nname = \"a\"\npeer = \"sips:a.example\"\ntls_key = \"a.key\"",
            "trunks.0.tls_certificate",
        ),
        (
            "[[trunks]]\nname = \"a\"\npeer = \"sip:192.0.2.1\"\ntls_certificate = \"a\"\ntls_key = \"b\"",
            "trunks.0.tls_certificate",
        ),
        ("sip.tenant_max_calls = 0", "sip.tenant_max_calls"),
        (
            "sip.tenant_calls_per_second = 1000001",
            "sip.tenant_calls_per_second",
        ),
        ("sip.dns = \"dns.example\"", "sip.dns"),
        (
            "[[trunks]]\nname = \"a\"\nkeep_alive = 3601",
            "trunks.0.keep_alive",
        ),
        (
            "[[trunks]]\nname = \"a\"\nkeep_alive = 30",
            "trunks.0.keep_alive",
        ),
        (
            "[[trunks]]\nname = \"a\"\npeer = \"sip:192.0.2.1\"\nregister = true",
            "trunks.0.register",
        ),
        ("recordings.url = \"s3://B/prefix\"", "recordings.url"),
        (
            "recordings.endpoint = \"http://127.0.0.1:9000\"",
            "recordings.url",
        ),
        (
            "recordings.shared = true\nrecordings.url = \"s3://bucket\"",
            "recordings.shared",
        ),
        ("http.public_url = \"ftp://a.example\"", "http.public_url"),
        (
            "recordings.access_key_id = \"A\"\nrecordings.url = \"s3://bucket\"",
            "recordings.access_key_id",
        ),
    ] {
        let error = error(text);
        assert!(
            error.contains(key) && !error.contains("this version"),
            "{error}"
        );
    }
}

#[test]
fn a_bucket_is_read_with_its_prefix_and_its_secret_is_not_printed() {
    let text = r#"
            http.public_url = "https://greenpin.example.com/"
            [recordings]
            url = "s3://bucket/some/prefix/"
            access_key_id = "a-key"
            secret_access_key = "fictional"
            "#;
    let config = read(text).unwrap();
    assert!(!config.recordings.shared);
    let bucket = config.recordings.bucket.as_ref().unwrap();
    assert_eq!(
        (bucket.name.as_str(), bucket.prefix.as_str()),
        ("bucket", "some/prefix")
    );
    assert_eq!(config.recordings.folder, Path::new("data/spool"));
    assert_eq!(
        config.http.public_url.as_deref(),
        Some("https://greenpin.example.com")
    );
    assert!(!format!("{config:?}").contains("fictional"));
}

#[test]
fn a_text_that_is_not_toml_is_told_with_its_place() {
    assert!(
        error("[http\n").starts_with("greenpin.toml:1: "),
        "{}",
        error("[http\n")
    );
}

#[test]
fn limits_and_certificates_of_http_are_checked() {
    let config = read("[http]\nmax_connections = 100\nidle_timeout = 120\n")
        .unwrap()
        .http;
    assert_eq!(
        (config.max_connections, config.max_connections_per_address),
        (100, 25)
    );
    assert_eq!(
        (config.idle_timeout, config.identity),
        (Duration::from_secs(120), None)
    );
    for (line, key) in [
        ("max_connections = 15", "http.max_connections"),
        (
            "max_connections_per_address = 4097",
            "http.max_connections_per_address",
        ),
        ("idle_timeout = 4", "http.idle_timeout"),
        ("tls_key = \"key.pem\"", "http.tls_certificate"),
    ] {
        let error = error(&format!("[http]\n{line}\n"));
        assert!(error.contains(key), "{line}: {error}");
    }
}

#[test]
fn a_reload_takes_over_what_harms_no_call_and_names_the_rest() {
    let trunk = |keys: &str| format!("[[trunks]]\nname = \"one\"\n{keys}\n");
    let old = "peer = \"sip:192.0.2.1\"\nusername = \"u\"\npassword = \"fictional\"";
    let text = format!("sip.max_calls = 10\nnode.lease = 20\n{}", trunk(old));
    let running = read(&text).unwrap();
    let new = "peer = \"sip:192.0.2.2\"\nusername = \"u\"\npassword = \"changed\"\npriority = 3";
    let text = format!("sip.max_calls = 20\nnode.lease = 30\n{}", trunk(new));
    let read_again = read(&text).unwrap();
    let reload = running.reload(&read_again);
    let keys = |keys: &BTreeSet<String>| keys.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(&reload.changed), "sip.max_calls trunks.0.priority");
    let restart = "node.lease trunks.0.password trunks.0.peer";
    assert_eq!(keys(&reload.needs_restart), restart);
    let now = &reload.config;
    assert_eq!((now.sip.max_calls, now.lease.as_secs()), (20, 20));
    let (of_old, of_now) = (&running.trunks[0].sip, &now.trunks[0].sip);
    assert_eq!(
        (&of_now.peer, &of_now.accept_from),
        (&of_old.peer, &of_old.accept_from)
    );
    assert_eq!(now.trunks[0].priority, 3);
    assert!(!format!("{now:?}").contains("fictional"));
    // What needs a restart is named again, what was taken over is not.
    let again = now.reload(&read_again);
    assert_eq!(keys(&again.changed), "");
    assert_eq!(keys(&again.needs_restart), restart);
}

#[test]
fn a_reload_takes_over_no_other_list_of_trunks() {
    let trunk =
        |name: &str| format!("[[trunks]]\nname = \"{name}\"\naccept_from = [\"192.0.2.1\"]\n");
    let running = read(&trunk("one")).unwrap();
    let added = format!("sip.max_calls = 20\n{}{}", trunk("one"), trunk("two"));
    for text in [trunk("two"), added, String::new()] {
        let reload = running.reload(&read(&text).unwrap());
        assert_eq!(reload.config.trunks.len(), 1);
        assert_eq!(reload.config.trunks[0].name, "one");
        assert!(reload.needs_restart.contains("trunks"));
        assert!(reload.changed.iter().all(|key| key == "sip.max_calls"));
    }
}

#[test]
fn several_listen_addresses_are_ordered_by_transport_and_announced_as_they_are() {
    let text = |more: &str| {
        format!(
            "[sip]\nlisten = [\"tcp:192.0.2.2:5060\", \"udp:192.0.2.1:5060\", \"udp:[2001:db8::1]:5060\", \
             \"tcp:192.0.2.1:5060\"]\n{more}"
        )
    };
    let shown = |config: &Config| -> Vec<[String; 4]> {
        let listen = config.listen_settings().into_iter();
        let shown = listen.map(|own| {
            let media = [own.media_bind, own.media_advertised].map(|ip| ip.to_string());
            let [bind, media] = media;
            [
                own.listen.to_string(),
                own.advertised.to_string(),
                bind,
                media,
            ]
        });
        shown.collect()
    };
    let row = |row: [&str; 4]| row.map(str::to_owned);
    let config = read(&text("public_address = \"203.0.113.10\"\n")).unwrap();
    assert_eq!(
        shown(&config),
        [
            row([
                "udp:192.0.2.1:5060",
                "203.0.113.10",
                "192.0.2.1",
                "203.0.113.10"
            ]),
            row([
                "udp:[2001:db8::1]:5060",
                "2001:db8::1",
                "2001:db8::1",
                "2001:db8::1"
            ]),
            row(["tcp:192.0.2.2:5060", "192.0.2.2", "192.0.2.2", "192.0.2.2"]),
            row([
                "tcp:192.0.2.1:5060",
                "203.0.113.10",
                "192.0.2.1",
                "203.0.113.10"
            ]),
        ]
    );
    let media = "[media]\nlisten = \"192.0.2.9\"\npublic_address = \"203.0.113.9\"\n";
    let config = read(&text(media)).unwrap();
    for own in config.listen_settings() {
        assert_eq!(own.media_bind.to_string(), "192.0.2.9");
        assert_eq!(own.media_advertised.to_string(), "203.0.113.9");
    }
    assert_eq!(config.sip.public_address.to_string(), "192.0.2.1");
}

#[test]
fn listen_addresses_that_exclude_each_other_are_faults() {
    let nine: Vec<String> = (1..=9)
        .map(|last| format!("\"udp:192.0.2.{last}:5060\""))
        .collect();
    let nine = nine.join(", ");
    for (listen, rule) in [
        ("\"tcp:192.0.2.1:5060\"", "at least one of them for UDP"),
        (nine.as_str(), "a list of 1 to 8 addresses"),
        ("\"udp:192.0.2.1\"", "a list of 1 to 8 addresses"),
        (
            "\"udp:192.0.2.1:5060\", \"udp:192.0.2.1:5060\"",
            "must not have the same address twice",
        ),
        (
            "\"udp:192.0.2.1:5060\", \"tcp:192.0.2.1:5060\", \"tls:192.0.2.1:5060\"",
            "must not have tcp and tls at the same address and port",
        ),
        (
            "\"udp:192.0.2.1:5060\", \"udp:0.0.0.0:5060\"",
            "must not have 0.0.0.0 or [::] beside another address",
        ),
        (
            "\"udp:192.0.2.1:5060\", \"udp:[::]:5060\"",
            "must name an address instead of 0.0.0.0 or [::]",
        ),
    ] {
        let text = format!(
            "[sip]\nlisten = [{listen}]\ntls_certificate = \"a.pem\"\ntls_key = \"b.pem\"\n"
        );
        let error = error(&text);
        assert!(
            error.contains(&format!("sip.listen {}", "")) && error.contains(rule),
            "{error}"
        );
    }
    for listen in [
        "\"udp:192.0.2.1:5060\", \"udp:192.0.2.1:5080\"",
        "\"udp:192.0.2.1:5060\", \"tcp:0.0.0.0:5060\"",
        "\"udp:127.0.0.1:0\", \"udp:127.0.0.1:0\"",
    ] {
        read(&format!("[sip]\nlisten = [{listen}]\n")).unwrap();
    }
}
