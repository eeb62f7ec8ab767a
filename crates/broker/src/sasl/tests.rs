//! Logins as clients make them, right and wrong.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::scram;
use crate::tokens::TokenOptions;
use control_core::{ScramUser, Token};
use protocol::frame::{decode_response, encode_request};
use protocol::messages::api_versions_request::ApiVersionsRequest;
use protocol::messages::metadata_request::MetadataRequest;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

fn options() -> SaslOptions {
    SaslOptions {
        mechanisms: Mechanism::ALL.to_vec(),
        users: BTreeMap::from([("alice".to_owned(), Text("wonder".to_owned()))]),
        own: None,
        receive_bytes_max: 1000,
        reauth_max: None,
        failure_delay: Duration::ZERO,
    }
}

fn frame_of<R: protocol::wire::Request>(version: i16, request: &R) -> Bytes {
    encode_request(7, Some("c"), version, request).unwrap().into_bytes().slice(4..)
}

fn around(image: &Image) -> Around<'_> {
    static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
        Tokens::new(&TokenOptions { secret: Some(Text("secret of all".to_owned())), ..TokenOptions::default() })
    });
    Around { image, tokens: &TOKENS, now: Micros(5), wall: &|| UnixMillis(1000), nonce: &|| "server".to_owned() }
}

fn handshake(login: &mut Login, image: &Image, mechanism: &str) -> Step {
    let request = SaslHandshakeRequest { mechanism: mechanism.to_owned() };
    login.take(frame_of(1, &request), &around(image))
}

/// The answer to a token, and whose the connection is then, by a secret of its own; or why it is refused.
fn token(
    login: &mut Login,
    image: &Image,
    bytes: &[u8],
) -> Result<(SaslAuthenticateResponse, Option<Principal>), String> {
    let (answer, known) = step(login, image, bytes)?;
    assert!(known.as_ref().is_none_or(|(_, proof)| *proof == Proof::Secret));
    Ok((answer, known.map(|(principal, _)| principal)))
}

fn step(login: &mut Login, image: &Image, token: &[u8]) -> Result<(SaslAuthenticateResponse, Option<Known>), String> {
    let request = SaslAuthenticateRequest { auth_bytes: Bytes::copy_from_slice(token) };
    match login.take(frame_of(1, &request), &around(image)) {
        Step::Answer { bytes, known } => {
            let told = decode_response::<SaslAuthenticateRequest>(bytes.slice(4..), 1).unwrap().1;
            assert_eq!(told.error_message.as_deref(), Some(""), "empty, and not absent, as in Kafka");
            Ok((told, known))
        }
        Step::Refuse { bytes, why } => {
            let told = decode_response::<SaslAuthenticateRequest>(bytes.unwrap().slice(4..), 1).unwrap().1;
            assert_eq!(told.error_code, ErrorCode::SaslAuthenticationFailed.number());
            Err(format!("{} ({why})", told.error_message.unwrap()))
        }
        Step::Serve(_) => panic!("it was to be served"),
    }
}

fn plain(what: &[u8]) -> Result<Option<Principal>, String> {
    let (mut login, image) = (Login::new(Arc::new(options())), Image::default());
    assert!(matches!(handshake(&mut login, &image, "PLAIN"), Step::Answer { known: None, .. }));
    token(&mut login, &image, what).map(|(_, known)| known)
}

#[test]
fn a_right_password_makes_a_user() {
    assert_eq!(plain(b"\0alice\0wonder").unwrap(), Some(Principal::user("alice")));
    assert_eq!(plain(b"alice\0alice\0wonder").unwrap(), Some(Principal::user("alice")));
    let wrong: [&[u8]; 9] = [
        b"\0alice\0wonder1",
        b"\0alice\0",
        b"\0bob\0wonder",
        b"\0bob\0",
        b"bob\0alice\0wonder",
        b"\0alice\0wonder\0",
        b"alice",
        b"\0\0wonder",
        b"\0ali\xffce\0wonder",
    ];
    for wrong in wrong {
        let refused = plain(wrong).unwrap_err();
        assert!(!refused.contains("wonder") && refused.contains("uthentication"), "{refused}");
    }
    assert!(plain(b"bob\0alice\0wonder").unwrap_err().contains("authorization id that is different"));
}

#[test]
fn nothing_is_served_before_the_login() {
    let (mut login, image) = (Login::new(Arc::new(options())), Image::default());
    assert_eq!(login.frame_bytes_max(), Some(1000));
    let metadata = || frame_of(9, &MetadataRequest::default());
    assert!(matches!(login.take(frame_of(3, &ApiVersionsRequest::default()), &around(&image)), Step::Serve(_)));
    for rubbish in [&b""[..], b"\xff\xff", b"GET / HTTP/1.1"] {
        let mut login = Login::new(Arc::new(options()));
        let step = login.take(Bytes::copy_from_slice(rubbish), &around(&image));
        assert!(matches!(step, Step::Refuse { bytes: None, .. }));
    }
    let Step::Refuse { why, .. } = login.take(metadata(), &around(&image)) else { panic!("it was not refused") };
    assert_eq!(why, "Unexpected Kafka request of type Metadata during SASL handshake.");
    let request = frame_of(1, &SaslAuthenticateRequest { auth_bytes: Bytes::from_static(b"\0alice\0wonder") });
    assert!(matches!(login.take(request, &around(&image)), Step::Refuse { .. }), "it has not said how");
    let Step::Refuse { bytes, .. } = handshake(&mut login, &image, "GSSAPI") else { panic!("it was not refused") };
    let told = decode_response::<SaslHandshakeRequest>(bytes.unwrap().slice(4..), 1).unwrap().1;
    assert_eq!((told.error_code, told.mechanisms.len()), (ErrorCode::UnsupportedSaslMechanism.number(), 3));
    assert!(matches!(handshake(&mut login, &image, "PLAIN"), Step::Answer { .. }));
    assert!(matches!(login.take(metadata(), &around(&image)), Step::Refuse { .. }));
    token(&mut login, &image, b"\0alice\0wonder").unwrap();
    assert_eq!(login.frame_bytes_max(), None);
    assert!(matches!(login.take(metadata(), &around(&image)), Step::Serve(_)));
    assert!(matches!(handshake(&mut login, &image, "PLAIN"), Step::Serve(_)), "it is told so as everybody is");
}

/// An image in which alice has a credential, and what her client makes of her password.
fn with_credential(mechanism: scram::Mechanism) -> (Image, Vec<u8>) {
    // Any bytes do for the salted password; how it comes to be is the client's affair.
    let salted = mechanism.hash(b"salted");
    let mut image = Image::default();
    let user = ScramUser { name: "al,ice".to_owned(), mechanism: mechanism.number() };
    image.scram.insert(user, Arc::new(mechanism.credential(b"salt", &salted, 4096)));
    (image, salted)
}

/// The client's last token to a challenge.
fn proof(mechanism: scram::Mechanism, salted: &[u8], client_first: &str, server_first: &str) -> (String, Vec<u8>) {
    let nonce = server_first.split(',').next().unwrap();
    proof_with(mechanism, salted, (client_first, server_first), nonce)
}

fn proof_with(
    mechanism: scram::Mechanism,
    salted: &[u8],
    (client_first, server_first): (&str, &str),
    nonce: &str,
) -> (String, Vec<u8>) {
    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD;
    let without = format!("c=biws,{nonce}");
    let said = format!("{client_first},{server_first},{without}");
    let client_key = mechanism.hmac(salted, b"Client Key");
    let signature = mechanism.hmac(&mechanism.hash(&client_key), said.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    let server = mechanism.hmac(&mechanism.hmac(salted, b"Server Key"), said.as_bytes());
    (format!("{without},p={}", base64.encode(proof)), format!("v={}", base64.encode(server)).into_bytes())
}

const CLIENT_FIRST: &str = "n=al=2Cice,r=client";

#[test]
fn a_proof_makes_a_user_and_is_answered_by_one() {
    for (named, mechanism) in [("SCRAM-SHA-256", scram::Mechanism::Sha256), ("SCRAM-SHA-512", scram::Mechanism::Sha512)]
    {
        let (image, salted) = with_credential(mechanism);
        let mut login = Login::new(Arc::new(options()));
        assert!(matches!(handshake(&mut login, &image, named), Step::Answer { known: None, .. }));
        let (answer, known) = token(&mut login, &image, format!("n,,{CLIENT_FIRST}").as_bytes()).unwrap();
        let server_first = String::from_utf8(answer.auth_bytes.to_vec()).unwrap();
        assert_eq!((server_first.as_str(), known), ("r=clientserver,s=c2FsdA==,i=4096", None));
        let (last, expected) = proof(mechanism, &salted, CLIENT_FIRST, &server_first);
        let (answer, known) = token(&mut login, &image, last.as_bytes()).unwrap();
        assert_eq!((answer.auth_bytes.to_vec(), known), (expected, Some(Principal::user("al,ice"))));
    }
}

/// As librdkafka does before 2.6.1, and Kafka takes.
#[test]
fn a_client_may_repeat_its_own_nonce() {
    let mechanism = scram::Mechanism::Sha256;
    let (image, salted) = with_credential(mechanism);
    let mut login = Login::new(Arc::new(options()));
    handshake(&mut login, &image, "SCRAM-SHA-256");
    let (answer, _) = token(&mut login, &image, format!("n,,{CLIENT_FIRST}").as_bytes()).unwrap();
    let server_first = String::from_utf8(answer.auth_bytes.to_vec()).unwrap();
    let (last, expected) = proof_with(mechanism, &salted, (CLIENT_FIRST, &server_first), "r=clientclientserver");
    let (answer, known) = token(&mut login, &image, last.as_bytes()).unwrap();
    assert_eq!((answer.auth_bytes.to_vec(), known), (expected, Some(Principal::user("al,ice"))));
}

/// CVE-2024-56128 is the nonce that was not looked at.
#[test]
fn wrong_proofs_nonces_and_names_are_refused_alike() {
    let mechanism = scram::Mechanism::Sha256;
    let (image, salted) = with_credential(mechanism);
    let said =
        "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256";
    let first = |what: &str| {
        let mut login = Login::new(Arc::new(options()));
        handshake(&mut login, &image, "SCRAM-SHA-256");
        token(&mut login, &image, what.as_bytes()).map(|(answer, _)| (login, answer.auth_bytes))
    };
    for wrong in [
        "n,,n=bob,r=c",
        "n,,r=c",
        "p=tls,,n=al=2Cice,r=c",
        "n,,n=al=2Xice,r=c",
        "n,,n=al=2Cice,r=",
        "x",
        "n,,m=x,n=a,r=c",
    ] {
        let refused = first(wrong).err().unwrap();
        assert!(refused.starts_with(said), "{wrong}: {refused}");
    }
    assert!(first("n,a=bob,n=al=2Cice,r=c").err().unwrap().contains("authorization id"));
    let (right, _) = proof(mechanism, &salted, CLIENT_FIRST, "r=clientserver,s=c2FsdA==,i=4096");
    let cases = [
        proof(mechanism, b"wrong", CLIENT_FIRST, "r=clientserver,s=c2FsdA==,i=4096").0,
        right.replace("r=clientserver", "r=clientother"),
        right.replace("r=clientserver", "r=client"),
        right.replace("c=biws", "c=eSws"),
        right.replace(",p=", ",q="),
        format!("{right}AAAA"),
        "c=biws,r=clientserver,p=".to_owned(),
    ];
    for wrong in cases {
        let (mut login, _) = first(&format!("n,,{CLIENT_FIRST}")).unwrap();
        let refused = token(&mut login, &image, wrong.as_bytes()).unwrap_err();
        assert!(refused.starts_with(said), "{wrong}: {refused}");
    }
}

#[test]
fn a_login_lasts_and_may_be_made_anew_by_the_same_user() {
    let lasting = SaslOptions { reauth_max: Some(Duration::from_secs(1)), ..options() };
    let users = BTreeMap::from([("alice", "wonder"), ("bob", "build")]);
    let users = users.into_iter().map(|(user, password)| (user.to_owned(), Text(password.to_owned()))).collect();
    let (mut login, image) = (Login::new(Arc::new(SaslOptions { users, ..lasting })), Image::default());
    handshake(&mut login, &image, "PLAIN");
    let (answer, _) = token(&mut login, &image, b"\0alice\0wonder").unwrap();
    assert_eq!(answer.session_lifetime_ms, 1000);
    handshake(&mut login, &image, "PLAIN");
    token(&mut login, &image, b"\0alice\0wonder").unwrap();
    let late = Around { now: Micros(10_000_000), ..around(&image) };
    let metadata = frame_of(9, &MetadataRequest::default());
    assert!(matches!(login.take(metadata, &late), Step::Refuse { bytes: None, .. }), "it has expired");
    assert!(matches!(handshake(&mut login, &image, "PLAIN"), Step::Answer { .. }), "but may be made anew");
    let refused = token(&mut login, &image, b"\0bob\0build").unwrap_err();
    assert!(
        refused.contains("Cannot change principals during re-authentication from User.alice: User.bob"),
        "{refused}"
    );
    let step = handshake(&mut login, &image, "SCRAM-SHA-256");
    assert!(matches!(step, Step::Refuse { .. }), "nor may the mechanism change");
}

/// Logs in by the token `id` of that owner, which ends 500 ms after the moment of the login; for how long, and as whom.
fn by_token(owner: &str, id: &str, reauth_max: Option<Duration>) -> Result<(i64, Option<Known>, Login), String> {
    let renewers = Vec::new();
    let (issued, expiry, last) = (UnixMillis(0), UnixMillis(1500), UnixMillis(9000));
    let token = Token { owner: owner.to_owned(), requester: "User:r".to_owned(), renewers, issued, expiry, last };
    let mut image = Image::default();
    image.tokens.insert("the-id".to_owned(), Arc::new(token));
    let mechanism = scram::Mechanism::Sha512;
    let mut login = Login::new(Arc::new(SaslOptions { reauth_max, ..options() }));
    handshake(&mut login, &image, "SCRAM-SHA-512");
    let first = format!("n={id},r=client,tokenauth=true");
    let (answer, _) = step(&mut login, &image, format!("n,,{first}").as_bytes())?;
    let server_first = String::from_utf8(answer.auth_bytes.to_vec()).unwrap();
    let fields: Vec<&str> = server_first.split(',').collect();
    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD;
    let hmac = mechanism.hmac(b"secret of all", b"the-id");
    let salt = base64.decode(&fields[1][2..]).unwrap();
    assert_eq!((salt.len(), fields[2]), (16, "i=4096"));
    let salted = mechanism.salted(base64.encode(hmac).as_bytes(), &salt, 4096);
    let (last, _) = proof(mechanism, &salted, &first, &server_first);
    let (answer, known) = step(&mut login, &image, last.as_bytes())?;
    Ok((answer.session_lifetime_ms, known, login))
}

#[test]
fn a_token_makes_its_owner_until_it_ends() {
    let (lifetime, known, mut login) = by_token("User:al:ice", "the-id", None).unwrap();
    assert_eq!((lifetime, known), (500, Some((Principal::user("al:ice"), Proof::Token))));
    let image = Image::default();
    let metadata = || frame_of(9, &MetadataRequest::default());
    let later = |millis: u64| Around { now: Micros(5 + 1000 * millis), ..around(&image) };
    assert!(matches!(login.take(metadata(), &later(499)), Step::Serve(_)));
    assert!(matches!(login.take(metadata(), &later(500)), Step::Refuse { .. }));
    assert_eq!(by_token("User:a", "the-id", Some(Duration::from_millis(100))).unwrap().0, 100);
    assert_eq!(by_token("User:a", "the-id", Some(Duration::from_secs(100))).unwrap().0, 500);
    assert!(by_token("User:a", "another", None).is_err());
    assert!(by_token("Group:a", "the-id", None).is_err(), "a caller is a user");
}

#[test]
fn bare_tokens_of_old_clients_are_taken() {
    let (mut login, image) = (Login::new(Arc::new(options())), Image::default());
    let request = SaslHandshakeRequest { mechanism: "PLAIN".to_owned() };
    assert!(matches!(login.take(frame_of(0, &request), &around(&image)), Step::Answer { .. }));
    let Step::Answer { bytes, known } = login.take(Bytes::from_static(b"\0alice\0wonder"), &around(&image)) else {
        panic!("it was refused")
    };
    assert_eq!((&bytes[..], known), (&[0, 0, 0, 0][..], Some((Principal::user("alice"), Proof::Secret))));
    assert!(!format!("{login:?}").contains("wonder"));
}
