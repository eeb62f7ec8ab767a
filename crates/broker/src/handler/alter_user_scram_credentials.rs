//! AlterUserScramCredentials (KIP-554): each user's credential once in a request; what is right of it is done as a whole.
//!
//! Refusals are Kafka's, in its order. The password never comes here: clients hash it, and the ledger keeps what is needed to check it.

use crate::error::Failure;
use crate::rights::Rights;
use crate::scram::{ITERATIONS_MAX, ITERATIONS_MIN, Mechanism};
use crate::{Shared, requests, topics};
use control_core::{Command, Image, ScramCredential, ScramUser};
use protocol::api::Operation;
use protocol::messages::alter_user_scram_credentials_request::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use protocol::messages::alter_user_scram_credentials_response::{
    AlterUserScramCredentialsResponse, AlterUserScramCredentialsResult,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The request names no timeout of its own.
const ALTER_WAIT_MAX: Duration = Duration::from_secs(30);

/// What the ledger keeps of a user's name and of a salt; many may have a credential.
const NAME_BYTES_MAX: usize = 1024;
const SALT_BYTES_MAX: usize = 1024;

/// One change, or why there is none.
type Planned = Result<(ScramUser, Option<ScramCredential>), Failure>;

pub(crate) async fn handle(
    broker: &Shared,
    request: AlterUserScramCredentialsRequest,
    rights: &Rights,
) -> AlterUserScramCredentialsResponse {
    let mut planned = plan(&broker.store.ledger().image(), &request);
    let count = planned.len();
    let checked = rights.check_cluster(Operation::Alter).and_then(|()| {
        let most = requests::NAMES_MAX;
        if count > most { Err(Failure::TooManyNames { most }) } else { Ok(()) }
    });
    let outcome = match checked {
        Err(failure) => {
            planned.values_mut().for_each(|it| *it = Err(failure.clone()));
            Ok(())
        }
        Ok(()) => {
            let changes: BTreeMap<_, _> = planned.values().filter_map(|it| it.as_ref().ok().cloned()).collect();
            if changes.is_empty() {
                Ok(())
            } else {
                topics::submit(broker, Command::AlterScram { changes }, ALTER_WAIT_MAX).await
            }
        }
    };
    let result = |(user, planned): (String, Planned)| {
        let (error_code, error_message) = match planned.and(outcome.clone()) {
            Ok(()) => (0, None),
            Err(failure) => (failure.code().number(), Some(failure.to_string())),
        };
        AlterUserScramCredentialsResult { user, error_code, error_message }
    };
    let results = planned.into_iter().map(result).collect();
    AlterUserScramCredentialsResponse { results, ..AlterUserScramCredentialsResponse::default() }
}

/// What becomes of each user.
fn plan(image: &Image, request: &AlterUserScramCredentialsRequest) -> BTreeMap<String, Planned> {
    let mut planned: BTreeMap<String, Planned> = BTreeMap::new();
    let mut add = |name: &str, change: &dyn Fn() -> Planned| match planned.get_mut(name) {
        None => drop(planned.insert(name.to_owned(), change())),
        Some(Err(_)) => {}
        Some(twice) => {
            *twice = Err(Failure::DuplicateResource(
                "A user credential cannot be altered twice in the same request".to_owned(),
            ));
        }
    };
    for deletion in &request.deletions {
        add(&deletion.name, &|| delete(image, deletion));
    }
    for upsertion in &request.upsertions {
        add(&upsertion.name, &|| upsert(upsertion));
    }
    planned
}

fn delete(image: &Image, deletion: &ScramCredentialDeletion) -> Planned {
    let mechanism = check_user(&deletion.name, deletion.mechanism)?;
    let user = ScramUser { name: deletion.name.clone(), mechanism: mechanism.number() };
    if image.scram.contains_key(&user) {
        return Ok((user, None));
    }
    Err(Failure::ResourceNotFound("Attempt to delete a user credential that does not exist".to_owned()))
}

fn upsert(upsertion: &ScramCredentialUpsertion) -> Planned {
    let ScramCredentialUpsertion { name, mechanism, iterations, salt, salted_password } = upsertion;
    let mechanism = check_user(name, *mechanism)?;
    let unacceptable = |why: &str| Err(Failure::UnacceptableCredential(why.to_owned()));
    if *iterations < ITERATIONS_MIN {
        return unacceptable("Too few iterations");
    }
    if *iterations > ITERATIONS_MAX {
        return unacceptable("Too many iterations");
    }
    if name.len() > NAME_BYTES_MAX || salt.len() > SALT_BYTES_MAX {
        return unacceptable("a name and a salt have 1024 bytes at the most");
    }
    if salted_password.is_empty() {
        return Err(Failure::Unexpected("Empty key".to_owned()));
    }
    let user = ScramUser { name: name.clone(), mechanism: mechanism.number() };
    Ok((user, Some(mechanism.credential(salt, salted_password, *iterations))))
}

fn check_user(name: &str, mechanism: i8) -> Result<Mechanism, Failure> {
    if name.is_empty() {
        return Err(Failure::UnacceptableCredential("Username must not be empty".to_owned()));
    }
    Mechanism::of_number(mechanism).ok_or_else(|| Failure::UnknownMechanism("Unknown SCRAM mechanism".to_owned()))
}
