//! Draws Kafka's ids for new topics.

use protocol::wire::Uuid;

/// A random (version 4) UUID; its text never begins with '-', which command lines would take for an option.
pub(crate) fn random(mut bits: impl FnMut() -> u64) -> Uuid {
    loop {
        let bits = u128::from(bits()) << 64 | u128::from(bits());
        let id = Uuid(bits & !(0xf << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62);
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_carry_the_version_and_the_variant_and_are_no_command_line_options() {
        let mut draws = [0xf8 << 56, 0, u64::MAX, u64::MAX, 7, 7].into_iter();
        let id = random(|| draws.next().unwrap());
        assert_eq!((id.0 >> 76 & 0xf, id.0 >> 62 & 3), (4, 2));
        assert!(draws.next().is_some(), "the first pair begins with '-' and is drawn anew");
    }
}
