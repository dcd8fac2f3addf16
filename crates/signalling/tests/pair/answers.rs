//! Responses of a called party: reliable provisional responses, forks, redirections.

use super::*;

#[test]
fn a_reliable_provisional_response_is_acknowledged_once_and_may_carry_the_answer() {
    let (mut pair, leg, invite) = Pair::dial_manually();
    let body = HOLD.replace("sendonly", "sendrecv");
    let reliable = format!("Require: 100rel\r\nRSeq: 7\r\n{SDP}");
    for _ in 0..3 {
        pair.answer_manually(answer_to(&invite, 183, "one", &reliable, &body));
    }
    pair.answer_manually(answer_to(
        &invite,
        180,
        "one",
        "Require: 100rel\r\nRSeq: 9\r\n",
        "",
    ));
    assert_eq!(
        pair.sent("PRACK").len(),
        1,
        "neither for a retransmission nor out of order"
    );
    pair.answer_manually(answer_to(
        &invite,
        180,
        "one",
        "Require: 100rel\r\nRSeq: 8\r\n",
        "",
    ));
    let pracks = pair.sent("PRACK");
    assert_eq!(pracks.len(), 2);
    assert!(pracks[0].contains("RAck: 7 1 INVITE\r\n") && pracks[0].contains("CSeq: 2 PRACK\r\n"));
    assert!(pracks[1].contains("RAck: 8 1 INVITE\r\n") && pracks[1].contains("CSeq: 3 PRACK\r\n"));
    assert!(!pair.is_answered(), "early media does not answer the call");
    pair.answer_manually(answer_to(&invite, 200, "one", "", ""));
    assert!(
        pair.is_answered(),
        "the provisional response carried the answer"
    );
    assert!(pair.sent("ACK")[0].contains("CSeq: 1 ACK\r\n"));
    pair.ends[0].hang_up(leg, pair.now);
    pair.collect();
    assert!(
        pair.sent("BYE")[0].contains("CSeq: 4 BYE\r\n"),
        "sequence numbers continue after the PRACKs"
    );
}

#[test]
fn the_first_fork_branch_to_answer_wins_and_a_later_one_is_hung_up() {
    let (mut pair, _, invite) = Pair::dial_manually();
    let body = HOLD.replace("sendonly", "sendrecv");
    for tag in ["one", "two"] {
        pair.answer_manually(answer_to(&invite, 180, tag, "", ""));
    }
    pair.answer_manually(answer_to(&invite, 200, "two", SDP, &body));
    assert!(pair.is_answered());
    assert_eq!(pair.sent("BYE").len(), 0);
    pair.answer_manually(answer_to(&invite, 200, "one", SDP, &body));
    assert_eq!((pair.sent("ACK").len(), pair.sent("BYE").len()), (2, 1));
    assert!(pair.sent("BYE")[0].contains(";tag=one"));
    pair.answer_manually(answer_to(&invite, 200, "one", SDP, &body));
    assert_eq!(
        (pair.sent("ACK").len(), pair.sent("BYE").len()),
        (3, 1),
        "a retransmitted 2xx is acknowledged again"
    );
}

#[test]
fn a_redirection_or_challenge_of_a_called_party_fails_the_call() {
    for (status, header) in [
        (302, "Contact: <sip:+910000000000@198.51.100.9>\r\n"),
        (401, "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n"),
        (
            407,
            "Proxy-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n",
        ),
    ] {
        let (mut pair, _, invite) = Pair::dial_manually();
        pair.answer_manually(answer_to(&invite, status, "one", header, ""));
        assert_eq!(pair.failed(End::Caller), status);
        assert_eq!((pair.sent("INVITE").len(), pair.sent("ACK").len()), (1, 1));
        assert!(
            !pair.wire[0]
                .iter()
                .any(|message| message.contains("Authorization"))
        );
    }
}

#[test]
fn a_2xx_without_description_is_answered_by_the_description_of_its_branch() {
    let body = HOLD.replace("sendonly", "sendrecv");
    for (tag, answers) in [("one", true), ("two", false)] {
        let (mut pair, _, invite) = Pair::dial_manually();
        pair.answer_manually(answer_to(&invite, 183, "one", SDP, &body));
        pair.answer_manually(answer_to(&invite, 180, "two", "", ""));
        pair.answer_manually(answer_to(&invite, 200, tag, "", ""));
        assert_eq!(pair.is_answered(), answers, "{tag}");
        assert_eq!(pair.sent("BYE").is_empty(), answers, "{tag}");
    }
}

#[test]
fn an_answer_may_be_a_part_of_a_multipart_body() {
    let (mut pair, _, invite) = Pair::dial_manually();
    let description = HOLD.replace("sendonly", "sendrecv");
    let body = format!(
        "--b\r\nContent-Type: application/isup\r\n\r\n\u{1}\r\n--b\r\n{SDP}\r\n{description}\r\n--b--\r\n"
    );
    let headers = "Content-Type: multipart/mixed;boundary=\"b\"\r\n";
    pair.answer_manually(answer_to(&invite, 200, "one", headers, &body));
    assert!(pair.is_answered());
    assert!(pair.sent("BYE").is_empty());
}

#[test]
fn a_fork_with_endless_answers_costs_a_bounded_number_of_messages() {
    let (mut pair, _, invite) = Pair::dial_manually();
    let body = HOLD.replace("sendonly", "sendrecv");
    for branch in 0..100 {
        let tag = format!("branch{branch}");
        pair.answer_manually(answer_to(&invite, 200, &tag, SDP, &body));
    }
    assert!(pair.is_answered());
    assert_eq!((pair.sent("ACK").len(), pair.sent("BYE").len()), (10, 9));
    pair.answer_manually(answer_to(&invite, 200, "branch0", SDP, &body));
    assert_eq!(
        pair.sent("ACK").len(),
        11,
        "a known answer is acknowledged again"
    );
}
