//! The test vectors of the RFCs, the life of a nonce, and garbage.

use super::*;

const REALM: &[u8] = b"http-auth@example.org";
const NONCE: &str = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
const NOW_MS: u64 = 1_800_000_000_000;

fn asked<'a>(uri: &'a [u8], nonce: &'a str, cnonce: &'a str) -> Asked<'a> {
    let counted = Some((&b"00000001"[..], cnonce.as_bytes()));
    Asked { method: b"GET", uri, nonce: nonce.as_bytes(), counted }
}

fn mufasa(algorithm: Algorithm) -> String {
    let secret = Secret::of(b"Mufasa", REALM, b"Circle of Life");
    let response = secret.ha1(algorithm).response(&asked(b"/dir/index.html", NONCE, CNONCE));
    String::from_utf8(response.hex(algorithm).as_bytes().to_vec()).expect("digits")
}

#[test]
fn md5_and_sha_256_answer_as_in_rfc_7616() {
    assert_eq!(mufasa(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
    assert_eq!(
        mufasa(Algorithm::Sha256),
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    );
}

#[test]
fn sha_512_256_answers_as_another_library_does() {
    // The example of RFC 7616 §3.9.2 cuts SHA-512 short, which is another function (erratum 4897);
    // the value here is that of the RFC's texts by the hash of OpenSSL.
    let secret =
        Secret::of("J\u{e4}s\u{f8}n Doe".as_bytes(), b"api@example.org", b"Secret, or not?");
    let (nonce, cnonce) =
        ("5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", "NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm");
    let response = secret.ha1(Algorithm::Sha512T256).response(&asked(b"/doe.json", nonce, cnonce));
    let text = response.hex(Algorithm::Sha512T256);
    assert_eq!(
        text.as_bytes(),
        b"7a4e1192babbba02e91182d2895bfdbf7adafc6e48d4e517ca301974843d840c"
    );
}

#[test]
fn a_peer_of_rfc_2069_is_answered_without_a_count() {
    let secret = Secret::of(b"Mufasa", b"testrealm@host.com", b"CircleOfLife");
    let nonce = b"dcd98b7102dd2f0e8b11d0f600bfb0c093";
    let uri = b"/dir/index.html";
    let asked = Asked { method: b"GET", uri, nonce, counted: None };
    let response = secret.ha1(Algorithm::Md5).response(&asked);
    assert_eq!(response.hex(Algorithm::Md5).as_bytes(), b"1949323746fe6a43ef61f9606e7febea");
}

#[test]
fn the_strongest_challenge_is_answered_and_a_weak_one_can_be_refused() {
    let values: [&[u8]; 5] = [
        br#"Digest realm="a", nonce="1", algorithm=MD5, qop="auth""#,
        br#"Digest realm="b", nonce="2", algorithm=SHA-999, qop="auth""#,
        br#"Basic realm="c""#,
        br#"Digest realm="d", nonce="4", algorithm=SHA-256, qop="auth-int, auth", stale=TRUE"#,
        br#"Digest realm="e", nonce="5", algorithm=SHA-256, qop="auth""#,
    ];
    let best = strongest(values.into_iter(), Algorithm::Md5).expect("a usable one");
    assert_eq!((&*best.realm, best.algorithm, best.stale), (&b"d"[..], Algorithm::Sha256, true));
    assert!(strongest(values.into_iter().take(3), Algorithm::Sha256).is_none());
    let only_int = br#"Digest realm="a", nonce="1", qop="auth-int""#;
    assert_eq!(Challenge::parse(only_int).err(), Some(InvalidDigest::Unsupported));
}

fn account() -> Account {
    Account { user: "a1".into(), password: "secret".into() }
}

/// Answers a challenge of `guard` as a phone would.
fn answered(nonce: &str, algorithm: Algorithm, count: u32) -> Vec<u8> {
    let text = challenge("relay", nonce, algorithm, false);
    let read = Challenge::parse(text.as_bytes()).expect("our own challenge");
    answer(&account(), &read, b"INVITE", b"sip:x@h", count, 7)
}

fn judge(guard: &mut Guard, now_ms: u64, from: &[u8], value: &[u8]) -> Judgement {
    let secret = Secret::of(b"a1", b"relay", b"secret");
    let credentials = Credentials::parse(value).expect("our own answer");
    guard.judge(now_ms, from, &secret, b"INVITE", &credentials)
}

#[test]
fn our_own_answer_passes_our_own_challenge_once_for_each_count() {
    for algorithm in Algorithm::ALL {
        let mut guard = Guard::new([7; 32]);
        let nonce = guard.nonce(NOW_MS, b"192.0.2.1", 1);
        assert!(guard.is_empty(), "nothing is kept of an unanswered challenge");
        let first = answered(&nonce, algorithm, 1);
        assert_eq!(judge(&mut guard, NOW_MS, b"192.0.2.1", &first), Judgement::Passed);
        assert_eq!(judge(&mut guard, NOW_MS, b"192.0.2.1", &first), Judgement::Stale);
        let third = answered(&nonce, algorithm, 3);
        assert_eq!(judge(&mut guard, NOW_MS + 10, b"192.0.2.1", &third), Judgement::Passed);
        let second = answered(&nonce, algorithm, 2);
        assert_eq!(judge(&mut guard, NOW_MS + 20, b"192.0.2.1", &second), Judgement::Passed);
        assert_eq!(guard.len(), 1);
    }
}

#[test]
fn an_old_nonce_a_foreign_one_and_one_of_another_source_are_stale() {
    let mut guard = Guard::new([7; 32]);
    let nonce = guard.nonce(NOW_MS, b"192.0.2.1", 1);
    let value = answered(&nonce, Algorithm::Sha256, 1);
    assert_eq!(judge(&mut guard, NOW_MS + LIFE_MS_TEST, b"192.0.2.1", &value), Judgement::Stale);
    assert_eq!(judge(&mut guard, NOW_MS - 60_000, b"192.0.2.1", &value), Judgement::Stale);
    assert_eq!(judge(&mut guard, NOW_MS, b"192.0.2.2", &value), Judgement::Stale);
    assert_eq!(judge(&mut Guard::new([8; 32]), NOW_MS, b"192.0.2.1", &value), Judgement::Stale);
    assert_eq!(judge(&mut guard, NOW_MS, b"192.0.2.1", &value), Judgement::Passed);
}

const LIFE_MS_TEST: u64 = 300_000;

#[test]
fn a_wrong_secret_fails_and_keeps_nothing() {
    let mut guard = Guard::new([7; 32]);
    let nonce = guard.nonce(NOW_MS, b"", 1);
    let value = answered(&nonce, Algorithm::Md5, 1);
    let credentials = Credentials::parse(&value).expect("our own answer");
    let wrong = Secret::of(b"a1", b"relay", b"Secret");
    let judged = guard.judge(NOW_MS, b"", &wrong, b"INVITE", &credentials);
    assert_eq!(judged, Judgement::Failed);
    let right = Secret::of(b"a1", b"relay", b"secret");
    let judged = guard.judge(NOW_MS, b"", &right, b"BYE", &credentials);
    assert_eq!(judged, Judgement::Failed, "the method is hashed too");
    assert!(guard.is_empty());
}

#[test]
fn a_count_far_behind_or_zero_is_never_taken() {
    let mut guard = Guard::new([7; 32]);
    let nonce = guard.nonce(NOW_MS, b"", 1);
    let mut take = |count| {
        let value = answered(&nonce, Algorithm::Sha256, count);
        judge(&mut guard, NOW_MS, b"", &value) == Judgement::Passed
    };
    assert!(!take(0));
    assert!(take(100) && take(37) && !take(37));
    assert!(!take(36), "64 behind");
    assert!(take(u32::MAX) && !take(100) && !take(u32::MAX));
}

#[test]
fn forgotten_nonces_are_not_taken_again_and_memory_is_bounded() {
    let mut guard = Guard::new([7; 32]);
    let first = guard.nonce(NOW_MS, b"", 0);
    let value = answered(&first, Algorithm::Md5, 1);
    assert_eq!(judge(&mut guard, NOW_MS, b"", &value), Judgement::Passed);
    for chance in 1..=NONCES_MAX as u64 {
        let nonce = guard.nonce(NOW_MS + chance / 100 + 1, b"", chance);
        let value = answered(&nonce, Algorithm::Md5, 1);
        let later = NOW_MS + 1_000;
        assert_eq!(judge(&mut guard, later, b"", &value), Judgement::Passed);
        assert!(guard.len() <= NONCES_MAX);
    }
    assert_eq!(judge(&mut guard, NOW_MS + 1_000, b"", &value), Judgement::Stale);
}

#[test]
fn a_stored_secret_reads_back_and_shows_nothing() {
    let secret = Secret::of(b"a1", b"relay", b"secret");
    assert_eq!(Secret::from_bytes(&secret.to_bytes()), Some(secret.clone()));
    assert_eq!(Secret::from_bytes(&[0; 95]), None);
    assert_eq!(format!("{secret:?} {:?}", account()), "Secret(***) Account(***)");
}

#[test]
fn odd_spellings_of_one_value_are_read_and_broken_ones_refused() {
    let odd =
        b"dIgEsT\t realm = \"a\\\"b\" ,NONCE=\"x,y\" , unknown=z,uri=\"sip:a\",username=\"u\", \
        response=\"0\", cnonce=\"\", nc=0000000A, qop=auth";
    let read = Credentials::parse(odd).expect("legal");
    assert_eq!(
        (read.realm, read.nonce, read.count),
        (&b"a\\\"b"[..], &b"x,y"[..], &b"0000000A"[..])
    );
    for broken in [
        "",
        "Digest",
        "Digest ",
        "Digest realm",
        "Digest realm=",
        "Digest realm=\"",
        "Digest realm=\"a",
        "Digest realm=\"a\\",
        "Digest realm=\"a\" nonce=\"b\"",
        "Digest realm=\"a\",",
        "Digest realm=\"a\",,nonce=\"b\"",
        "Digest realm=\"a\", realm=\"b\", nonce=\"c\"",
        "Digest realm=\"a\r\n b\", nonce=\"c\"",
        "Digest =a",
        "Digest nonce=\"c\"",
    ] {
        let challenge = Challenge::parse(broken.as_bytes()).err();
        assert_eq!(challenge, Some(InvalidDigest::Malformed), "{broken}");
        assert!(Credentials::parse(broken.as_bytes()).is_err());
    }
}

#[test]
fn ten_thousand_parameters_and_long_texts_are_refused() {
    let many = format!("Digest realm=\"a\", nonce=\"b\"{}", ", x=y".repeat(10_000));
    let long = format!("Digest realm=\"a\", nonce=\"{}\"", "b".repeat(513));
    for bad in [many.as_str(), &many[..2_000], &long] {
        assert!(Challenge::parse(bad.as_bytes()).is_err());
    }
}

#[test]
fn garbage_never_panics() {
    let seeds: [&[u8]; 3] = [
        br#"Digest realm="a", nonce="1", algorithm=MD5, qop="auth", stale=true, opaque="""#,
        b"Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:a\", response=\"00\", \
            cnonce=\"c\", nc=00000001, qop=auth",
        b"Digest \"\\\",=",
    ];
    // A small generator of our own: chance is not needed, only variety.
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    for round in 0..60_000 {
        let mut text = seeds[round % seeds.len()].to_vec();
        for _ in 0..next() % 6 {
            let at = next() as usize % text.len();
            match next() % 4 {
                0 => text[at] = next() as u8,
                1 => text[at] = b"\"\\,=; \r\n"[next() as usize % 8],
                2 => text.truncate(at.max(1)),
                _ => text.insert(at, next() as u8),
            }
        }
        let _ = Challenge::parse(&text);
        if let Ok(credentials) = Credentials::parse(&text) {
            judge(&mut Guard::new([1; 32]), NOW_MS, b"", &text);
            assert!(!format!("{credentials:?}").contains("sip:"));
        }
    }
}
