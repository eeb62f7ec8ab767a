//! Credentials for SCRAM (RFC 5802): which mechanisms there are, and what is kept of a password.

use control_core::{ScramCredential, Secret};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

/// A mechanism, by Kafka's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub(crate) enum Mechanism {
    Sha256 = 1,
    Sha512 = 2,
}

/// The fewest rounds of hashing, and the most: beyond it a login would cost a client, or who pretends to be one, too much.
pub(crate) const ITERATIONS_MIN: i32 = 4096;
pub(crate) const ITERATIONS_MAX: i32 = 16384;

impl Mechanism {
    pub(crate) fn of_number(number: i8) -> Option<Mechanism> {
        [Mechanism::Sha256, Mechanism::Sha512].into_iter().find(|it| *it as i8 == number)
    }

    /// As the ledger has it.
    pub(crate) fn number(self) -> i16 {
        i16::from(self as i8)
    }

    pub(crate) fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Mechanism::Sha256 => Sha256::digest(bytes).to_vec(),
            Mechanism::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    pub(crate) fn hmac(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        match self {
            Mechanism::Sha256 => hmac::<Hmac<Sha256>>(key, bytes),
            Mechanism::Sha512 => hmac::<Hmac<Sha512>>(key, bytes),
        }
    }

    /// A password as SCRAM uses it: hashed so many times (`Hi`). For passwords that a server knows; clients hash their own.
    pub(crate) fn salted(self, password: &[u8], salt: &[u8], iterations: i32) -> Vec<u8> {
        match self {
            Mechanism::Sha256 => salted::<Hmac<Sha256>>(password, salt, iterations),
            Mechanism::Sha512 => salted::<Hmac<Sha512>>(password, salt, iterations),
        }
    }

    /// What is kept of a password that the client has hashed.
    pub(crate) fn credential(self, salt: &[u8], salted_password: &[u8], iterations: i32) -> ScramCredential {
        let stored_key = self.hash(&self.hmac(salted_password, b"Client Key"));
        let server_key = self.hmac(salted_password, b"Server Key");
        ScramCredential {
            salt: Secret(salt.to_vec()),
            stored_key: Secret(stored_key),
            server_key: Secret(server_key),
            iterations,
        }
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    keyed::<M>(key).chain_update(bytes).finalize().into_bytes().to_vec()
}

#[expect(clippy::expect_used, reason = "an HMAC takes keys of any length")]
fn keyed<M: Mac + KeyInit>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("any length is a key")
}

fn salted<M: Mac + KeyInit + Clone>(password: &[u8], salt: &[u8], iterations: i32) -> Vec<u8> {
    let keyed = keyed::<M>(password);
    let mut last = keyed.clone().chain_update(salt).chain_update([0, 0, 0, 1]).finalize().into_bytes();
    let mut all = last.to_vec();
    for _ in 1..iterations {
        last = keyed.clone().chain_update(&last).finalize().into_bytes();
        all.iter_mut().zip(&last).for_each(|(all, last)| *all ^= last);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The vectors of RFC 4231, case 2.
    #[test]
    fn the_hashes_are_the_standards() {
        let mac = |mechanism: Mechanism| hex(&mechanism.hmac(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(mac(Mechanism::Sha256), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(mac(Mechanism::Sha512).starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"));
        assert_eq!(Mechanism::Sha512.credential(b"s", b"p", 4096).stored_key.0.len(), 64);
    }

    /// The example of RFC 7677: what its client's proof is made of.
    #[test]
    fn a_password_is_salted_as_the_standard_says() {
        use base64::Engine;
        let base64 = base64::engine::general_purpose::STANDARD;
        let salt = base64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let credential = Mechanism::Sha256.credential(&salt, &Mechanism::Sha256.salted(b"pencil", &salt, 4096), 4096);
        let said = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server = Mechanism::Sha256.hmac(&credential.server_key.0, said.as_bytes());
        assert_eq!(base64.encode(server), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(Mechanism::Sha512.salted(b"pencil", &salt, 1).len(), 64);
    }
}
