//! Settings of subscriptions to clients' metrics (KIP-714).

use crate::settings::Setting;

/// Sorted by name.
pub(crate) static CLIENT_METRICS: &[Setting] = settings! {
    "interval.ms": Int = Some("300000"), Any, Always, listed, Honoured;
        "How often clients that match send their metrics, from 100 to 3600000.";
    "match": List = Some(""), Any, Always, listed, Honoured;
        "Which clients: `client_id=PATTERN` and the like, all of which must match; empty for all.";
    "metrics": List = Some(""), Any, Always, listed, Honoured;
        "How the names of the metrics begin that are asked for; empty for none.";
};
