//! Kafka's error codes.

macro_rules! error_codes {
    ($($(#[$attribute:meta])* $number:literal $name:ident $retriable:literal)+) => {
        /// An error code of Kafka's protocol. `None` is success.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(i16)]
        pub enum ErrorCode {
            $($(#[$attribute])* $name = $number,)+
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)+];

            /// Whether a client should try again without being told to.
            #[must_use]
            pub const fn retriable(self) -> bool {
                match self {
                    $(ErrorCode::$name => $retriable,)+
                }
            }
        }
    };
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// The code with this number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<ErrorCode> {
        let at = ErrorCode::ALL.binary_search_by_key(&number, |code| code.number()).ok()?;
        Some(ErrorCode::ALL[at])
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> i16 {
        code.number()
    }
}

// Number, name, whether it is retriable. Sorted by number.
error_codes! {
    -1 UnknownServerError false
    #[default]
    0 None false
    1 OffsetOutOfRange false
    2 CorruptMessage true
    3 UnknownTopicOrPartition true
    4 InvalidFetchSize false
    5 LeaderNotAvailable true
    6 NotLeaderOrFollower true
    7 RequestTimedOut true
    8 BrokerNotAvailable false
    9 ReplicaNotAvailable true
    10 MessageTooLarge false
    11 StaleControllerEpoch false
    12 OffsetMetadataTooLarge false
    13 NetworkException true
    14 CoordinatorLoadInProgress true
    15 CoordinatorNotAvailable true
    16 NotCoordinator true
    17 InvalidTopicException false
    18 RecordListTooLarge false
    19 NotEnoughReplicas true
    20 NotEnoughReplicasAfterAppend true
    21 InvalidRequiredAcks false
    22 IllegalGeneration false
    23 InconsistentGroupProtocol false
    24 InvalidGroupId false
    25 UnknownMemberId false
    26 InvalidSessionTimeout false
    27 RebalanceInProgress false
    28 InvalidCommitOffsetSize false
    29 TopicAuthorizationFailed false
    30 GroupAuthorizationFailed false
    31 ClusterAuthorizationFailed false
    32 InvalidTimestamp false
    33 UnsupportedSaslMechanism false
    34 IllegalSaslState false
    35 UnsupportedVersion false
    36 TopicAlreadyExists false
    37 InvalidPartitions false
    38 InvalidReplicationFactor false
    39 InvalidReplicaAssignment false
    40 InvalidConfig false
    41 NotController true
    42 InvalidRequest false
    43 UnsupportedForMessageFormat false
    44 PolicyViolation false
    45 OutOfOrderSequenceNumber false
    46 DuplicateSequenceNumber false
    47 InvalidProducerEpoch false
    48 InvalidTxnState false
    49 InvalidProducerIdMapping false
    50 InvalidTransactionTimeout false
    51 ConcurrentTransactions true
    52 TransactionCoordinatorFenced false
    53 TransactionalIdAuthorizationFailed false
    54 SecurityDisabled false
    55 OperationNotAttempted false
    56 KafkaStorageError true
    57 LogDirNotFound false
    58 SaslAuthenticationFailed false
    59 UnknownProducerId false
    60 ReassignmentInProgress false
    61 DelegationTokenAuthDisabled false
    62 DelegationTokenNotFound false
    63 DelegationTokenOwnerMismatch false
    64 DelegationTokenRequestNotAllowed false
    65 DelegationTokenAuthorizationFailed false
    66 DelegationTokenExpired false
    67 InvalidPrincipalType false
    68 NonEmptyGroup false
    69 GroupIdNotFound false
    70 FetchSessionIdNotFound true
    71 InvalidFetchSessionEpoch true
    72 ListenerNotFound true
    73 TopicDeletionDisabled false
    74 FencedLeaderEpoch true
    75 UnknownLeaderEpoch true
    76 UnsupportedCompressionType false
    77 StaleBrokerEpoch false
    78 OffsetNotAvailable true
    79 MemberIdRequired false
    80 PreferredLeaderNotAvailable true
    81 GroupMaxSizeReached false
    82 FencedInstanceId false
    83 EligibleLeadersNotAvailable true
    84 ElectionNotNeeded true
    85 NoReassignmentInProgress false
    86 GroupSubscribedToTopic false
    87 InvalidRecord false
    88 UnstableOffsetCommit true
    89 ThrottlingQuotaExceeded true
    90 ProducerFenced false
    91 ResourceNotFound false
    92 DuplicateResource false
    93 UnacceptableCredential false
    94 InconsistentVoterSet false
    95 InvalidUpdateVersion false
    96 FeatureUpdateFailed false
    97 PrincipalDeserializationFailure false
    98 SnapshotNotFound false
    99 PositionOutOfRange false
    100 UnknownTopicId true
    101 DuplicateBrokerRegistration false
    102 BrokerIdNotRegistered false
    103 InconsistentTopicId true
    104 InconsistentClusterId false
    105 TransactionalIdNotFound false
    106 FetchSessionTopicIdError true
    107 IneligibleReplica false
    108 NewLeaderElected false
    109 OffsetMovedToTieredStorage false
    110 FencedMemberEpoch false
    111 UnreleasedInstanceId false
    112 UnsupportedAssignor false
    113 StaleMemberEpoch false
    114 MismatchedEndpointType false
    115 UnsupportedEndpointType false
    116 UnknownControllerId false
    117 UnknownSubscriptionId false
    118 TelemetryTooLarge false
    119 InvalidRegistration false
    120 TransactionAbortable false
    121 InvalidRecordState false
    122 ShareSessionNotFound true
    123 InvalidShareSessionEpoch true
    124 FencedStateEpoch false
    125 InvalidVoterKey false
    126 DuplicateVoter false
    127 VoterNotFound false
    128 InvalidRegularExpression false
    129 RebootstrapRequired false
    130 StreamsInvalidTopology false
    131 StreamsInvalidTopologyEpoch false
    132 StreamsTopologyFenced false
    133 ShareSessionLimitReached true
    134 GroupDeletionFailed false
    135 StreamsTopologyDescriptionUpdateFailed false
    136 ControllerIdNotRegistered false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_leads_back_to_its_code() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(ErrorCode::from_number(-2), None);
        assert_eq!(ErrorCode::from_number(i16::MAX), None);
    }
}
