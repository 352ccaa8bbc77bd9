//! Answers, good and hostile.

use proptest::prelude::*;

use super::*;

fn read(bytes: &[u8]) -> (Vec<Answer>, Result<(), Garbled>) {
    let mut answers = Answers::default();
    answers.buffer().extend_from_slice(bytes);
    let mut taken = Vec::new();
    loop {
        match answers.take() {
            Ok(Some(answer)) => taken.push(answer),
            Ok(None) => return (taken, Ok(())),
            Err(Garbled) => return (taken, Err(Garbled)),
        }
    }
}

fn answer(code: u16, lines: &[&str]) -> Answer {
    Answer { code, lines: lines.iter().map(|&line| line.to_owned()).collect() }
}

#[test]
fn answers_are_read_as_servers_write_them() {
    for (bytes, want) in [
        (&b"250 ok\r\n"[..], vec![answer(250, &["ok"])]),
        (b"250\r\n", vec![answer(250, &[""])]),
        (b"250 ok\n", vec![answer(250, &["ok"])]),
        (b"250-a\r\n250-b\r\n250 c\r\n", vec![answer(250, &["a", "b", "c"])]),
        (b"250 ok\r\n354 go\r\n", vec![answer(250, &["ok"]), answer(354, &["go"])]),
        (b"550 f\xfcr nichts\r\n", vec![answer(550, &["f\u{fffd}r nichts"])]),
        (b"250-a\r\n", vec![]),
        (b"250 a", vec![]),
        (b"", vec![]),
    ] {
        assert_eq!(read(bytes), (want, Ok(())), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_no_answer_is_found_out() {
    let long = [b"250 ".to_vec(), vec![b'x'; LINE_BYTES_MAX], b"\r\n".to_vec()].concat();
    let endless = vec![b'2'; LINE_BYTES_MAX + 1];
    let many = b"250-x\r\n".repeat(ANSWER_BYTES_MAX / 7 + 1);
    for bytes in [&b"HTTP/1.1 200 OK\r\n"[..], b"\r\n", b"25\r\n", b"150 x\r\n", b"650 x\r\n", b"2x0 ok\r\n", b"250_ok\r\n", &long, &endless, &many] {
        assert_eq!(read(bytes), (vec![], Err(Garbled)), "{}", bytes[..bytes.len().min(20)].escape_ascii());
    }
    assert_eq!(read(b"250-a\r\n550 b\r\n").1, Err(Garbled), "two codes in one answer");
}

#[test]
fn what_a_server_offers_is_read_in_any_case() {
    let said = answer(
        250,
        &["PIPELINING is my name", "pipelining", "SIZE 1000", "8BITMIME", "StartTLS", "AUTH=LOGIN", "AUTH CRAM-MD5 plain", "SMTPUTF8", ""],
    );
    let want = Offers {
        has_pipelining: true,
        has_starttls: true,
        has_smtputf8: true,
        has_size: true,
        message_bytes_max: Some(1000),
        has_plain: true,
        has_login: true,
    };
    assert_eq!(Offers::of(&said), want);
    assert_eq!(Offers::of(&answer(250, &["PIPELINING"])), Offers::default(), "the first line is a greeting");
    for (size, has_size, limit) in
        [("SIZE", true, None), ("SIZE 0", true, None), ("SIZE x", true, None), ("SIZES 5", false, None), ("SIZE 5", true, Some(5))]
    {
        let offers = Offers::of(&answer(250, &["me", size]));
        assert_eq!((offers.has_size, offers.message_bytes_max), (has_size, limit), "{size}");
    }
}

#[test]
fn an_enhanced_code_is_read_where_there_is_one() {
    for (line, want) in [
        ("5.3.4 too big", Some([5, 3, 4])),
        ("5.7.10", Some([5, 7, 10])),
        ("4.3.4 of another class", None),
        ("too big 5.3.4", None),
        ("5.3", None),
        ("5.3.4.1 a host", None),
        ("5.3.x", None),
        ("5.3.99999", None),
        ("", None),
    ] {
        assert_eq!(answer(552, &[line]).enhanced(), want, "{line}");
    }
    assert_eq!(answer(552, &[]).enhanced(), None);
    assert!(answer(552, &["5.3.4 too big"]).is_of_size() && answer(552, &["5.2.3 over the limit"]).is_of_size());
    assert!(!answer(552, &["5.2.2 mailbox full"]).is_of_size() && !answer(552, &["too big"]).is_of_size());
}

#[test]
fn only_the_words_of_ses_are_throttling() {
    assert!(answer(454, &["Throttling failure: Maximum sending rate exceeded."]).is_throttling());
    assert!(!answer(454, &["4.7.0 TLS not available"]).is_throttling());
    assert!(!answer(451, &["throttling"]).is_throttling());
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(prop_oneof![Just(b'2'), Just(b'5'), Just(b'0'), Just(b'\r'), Just(b'\n'), Just(b' '), Just(b'-'), any::<u8>()], 0..300)) {
        for answer in read(&bytes).0 {
            prop_assert!((200..600).contains(&answer.code));
            Offers::of(&answer);
        }
    }

    #[test]
    fn answers_are_the_same_in_whatever_pieces_they_come(cuts in proptest::collection::vec(0_usize..30, 0..6)) {
        let bytes = b"250-a\r\n250 b\r\n354\r\n550 c\r\n";
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let (mut answers, mut taken) = (Answers::default(), Vec::new());
        for piece in cuts.windows(2) {
            answers.buffer().extend_from_slice(&bytes[piece[0]..piece[1]]);
            while let Some(answer) = answers.take().expect("answers") {
                taken.push(answer);
            }
        }
        prop_assert_eq!(taken, read(bytes).0);
        prop_assert!(answers.is_empty());
    }
}
