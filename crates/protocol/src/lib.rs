//! Kafka's wire format. Bytes only.
