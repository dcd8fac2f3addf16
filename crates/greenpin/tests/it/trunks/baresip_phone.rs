//! baresip as a phone that authenticates with a password, over each transport.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::ports::free_port;
use crate::support::server::Server;
use crate::support::tls::{Certificates, sip};
use crate::support::webhook_inbox::WebhookInbox;

const PASSWORD: &str = "a-fictional-password";

/// Running phone. It ends with the test.
struct Phone(Child);

impl Drop for Phone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Phone {
    /// Calls the virtual number at once.
    fn call(
        folder: &Path,
        certificates: &Certificates,
        server: SocketAddr,
        transport: &str,
    ) -> Self {
        let port = free_port();
        let modules = "module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule ausine.so\n\
                       module_tmp account.so\nmodule_app menu.so\naudio_source ausine,440\n";
        let ca = certificates.path("ca.pem");
        let config = format!(
            "{modules}net_interface 127.0.0.1\nsip_listen 127.0.0.1:{port}\nsip_cafile {ca}\n"
        );
        let account = format!(
            "<sip:{CUSTOMER}@{server};transport={transport}>;auth_user=pbx;auth_pass={PASSWORD};regint=0\n"
        );
        std::fs::write(folder.join("config"), config).unwrap();
        std::fs::write(folder.join("accounts"), account).unwrap();
        let mut command = Command::new("baresip");
        command.arg("-4").arg("-f").arg(folder).args([
            "-t",
            "3",
            "-e",
            &format!("/dial sip:{VN}@{server}"),
        ]);
        command
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(
            command
                .spawn()
                .expect("baresip is installed: ./test does it"),
        )
    }
}

#[test]
fn baresip_authenticates_by_password_over_udp_tcp_and_tls() {
    let certificates = Certificates::new();
    let trunk = format!(
        "[[trunks]]\nname = \"pbx\"\naccept_from = [\"192.0.2.1\"]\naccept_username = \"pbx\"\n\
         accept_password = \"{PASSWORD}\"\naccept_digest = [\"md5\"]\n"
    );
    let server = Server::with(&(sip(&certificates) + &trunk));
    server.add_number(VN, &[]);
    server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut inbox = WebhookInbox::open();
    server.send_events_to(&inbox.url);
    for (transport, address) in [
        ("udp", server.sip),
        ("tcp", server.sip),
        ("tls", server.sip_tls()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let _phone = Phone::call(folder.path(), &certificates, address, transport);
        let begun = inbox.wait_for_event("call.initiated");
        assert_eq!(begun["data"]["from"], CUSTOMER, "{transport}");
        let sid = begun["data"]["call_sid"].as_str().unwrap().to_owned();
        // The call is answered, and the phone hangs up after a while.
        let ended = server.get_until(&format!("/calls/{sid}"), |call| {
            call["end_time"].is_string()
        });
        assert!(
            ended["answer_time"].is_string() && ended["hangup_by"] == "caller",
            "{transport}: {ended}"
        );
    }
}
