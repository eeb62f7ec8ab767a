//! What a store's requests and bytes cost: list prices of one common region each, as they were when this was written. For the cost meter
//! alone; nothing is decided by them.
//!
//! `--prices STORE` takes another row than the one that `--storage` suggests, and `--prices STORE,put=…,stored=…` other figures.

use std::fmt;
use world::{Operation, Purpose, StoreUse};

/// Dollars.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// Whose they are.
    pub store: &'static str,
    /// A thousand PUTs.
    pub put: f64,
    /// A thousand LISTs.
    pub list: f64,
    /// A thousand GETs.
    pub get: f64,
    /// A GiB put.
    pub up: f64,
    /// A GiB got.
    pub down: f64,
    /// A GiB kept for a month.
    pub stored: f64,
}

const fn row(store: &'static str, requests: [f64; 3], bytes: [f64; 3]) -> Prices {
    let [put, list, get] = requests;
    let [up, down, stored] = bytes;
    Prices { store, put, list, get, up, down, stored }
}

/// The table. To delete is free at all of them.
const TABLE: [Prices; 6] = [
    row("s3", [0.005, 0.005, 0.0004], [0.0, 0.0, 0.023]),
    row("s3-express", [0.001_13, 0.001_13, 0.000_03], [0.0032, 0.0006, 0.11]),
    row("gcs", [0.005, 0.005, 0.0004], [0.0, 0.0, 0.02]),
    row("azure", [0.005, 0.005, 0.0004], [0.0, 0.0, 0.0208]),
    row("oss", [0.0016, 0.0016, 0.000_16], [0.0, 0.0, 0.017]),
    row("minio", [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
];

const GIB: f64 = (1_u64 << 30) as f64;

impl Prices {
    /// Of `STORE[,NAME=DOLLARS…]`.
    ///
    /// # Errors
    /// One line that says what to write.
    pub fn parse(text: &str) -> Result<Prices, String> {
        let mut parts = text.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let mut prices = Prices::of(name).ok_or_else(|| format!("no prices of {name:?} are known; {}", form()))?;
        for part in parts {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is no price; {}", form()))?;
            let dollars = value.trim().parse::<f64>().ok().filter(|dollars| dollars.is_finite() && *dollars >= 0.0);
            let dollars = dollars.ok_or_else(|| format!("{value:?} is no sum of dollars; {}", form()))?;
            match name.trim() {
                "put" => prices.put = dollars,
                "list" => prices.list = dollars,
                "get" => prices.get = dollars,
                "up" => prices.up = dollars,
                "down" => prices.down = dollars,
                "stored" => prices.stored = dollars,
                other => return Err(format!("{other:?} has no price; {}", form())),
            }
        }
        Ok(prices)
    }

    /// The row of that name.
    fn of(store: &str) -> Option<Prices> {
        TABLE.into_iter().find(|prices| prices.store == store)
    }

    /// What `--storage` suggests: a folder, or an endpoint that is nobody's whom we know, costs nothing by the request.
    #[must_use]
    pub fn suggested_by(storage: &str) -> Prices {
        let (address, query) = storage.split_once('?').unwrap_or((storage, ""));
        let scheme = address.split("://").next().unwrap_or_default();
        let bucket = address.strip_prefix("s3://").map(|rest| rest.split('/').next().unwrap_or_default());
        let endpoint = query.split('&').find_map(|pair| pair.strip_prefix("endpoint="));
        let name = match (bucket, endpoint) {
            (None, None) if ["gs", "gcs"].contains(&scheme) => "gcs",
            (None, None) if ["az", "azure", "abfs", "abfss"].contains(&scheme) => "azure",
            (None, _) => "minio",
            (Some(bucket), _) if bucket.ends_with("--x-s3") => "s3-express",
            (Some(_), None) => "s3",
            (Some(_), Some(endpoint)) if endpoint.contains("amazonaws.com") => "s3",
            (Some(_), Some(endpoint)) if endpoint.contains("googleapis.com") => "gcs",
            (Some(_), Some(endpoint)) if endpoint.contains("aliyuncs.com") => "oss",
            (Some(_), Some(_)) => "minio",
        };
        Prices::of(name).expect("every name that is suggested stands in the table")
    }

    /// What was asked for that purpose cost.
    #[must_use]
    pub fn dollars(&self, used: &StoreUse, purpose: Purpose) -> f64 {
        let requests = |operation, price: f64| used.billed(operation, purpose) as f64 / 1000.0 * price;
        requests(Operation::Put, self.put)
            + requests(Operation::List, self.list)
            + requests(Operation::Get, self.get)
            + used.up_bytes(purpose) as f64 / GIB * self.up
            + used.down_bytes(purpose) as f64 / GIB * self.down
    }

    /// What so many bytes cost that are kept for a month.
    #[must_use]
    pub fn dollars_to_keep(&self, bytes: u64) -> f64 {
        bytes as f64 / GIB * self.stored
    }
}

/// As [`Prices::parse`] takes it.
impl fmt::Display for Prices {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prices { store, put, list, get, up, down, stored } = self;
        write!(out, "{store},put={put},list={list},get={get},up={up},down={down},stored={stored}")
    }
}

fn form() -> String {
    let stores: Vec<&str> = TABLE.iter().map(|prices| prices.store).collect();
    format!(
        "write one of {}, and after it, where they differ, ,put=DOLLARS ,list= ,get= (a thousand), ,up= ,down= ,stored= (a GiB)",
        stores.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_and_what_differs() {
        let prices = Prices::parse("s3, stored=0.02,get=0").unwrap();
        assert_eq!(prices, Prices { stored: 0.02, get: 0.0, ..Prices::of("s3").unwrap() });
        assert_eq!(Prices::parse(&prices.to_string()).unwrap(), prices);
        for (text, part) in [
            ("", "no prices of \"\""),
            ("s4", "write one of s3, s3-express, gcs, azure, oss, minio"),
            ("s3,0.1", "\"0.1\" is no price"),
            ("s3,put=-1", "\"-1\" is no sum"),
            ("s3,put=NaN", "is no sum"),
            ("s3,delete=1", "\"delete\" has no price"),
        ] {
            let refusal = Prices::parse(text).unwrap_err();
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
    }

    #[test]
    fn the_storage_suggests_whose_prices() {
        for (storage, store) in [
            ("file:///dir", "minio"),
            ("s3://bucket/prefix", "s3"),
            ("gs://bucket/prefix", "gcs"),
            ("gs://bucket?endpoint=http://127.0.0.1:4443", "minio"),
            ("az://container/prefix?account=me", "azure"),
            ("abfs://container@me.dfs.core.windows.net/prefix", "azure"),
            ("s3://bucket--use1-az4--x-s3?region=us-east-1", "s3-express"),
            ("s3://b?region=x&endpoint=https://s3.eu-west-1.amazonaws.com", "s3"),
            ("s3://b?endpoint=https://storage.googleapis.com", "gcs"),
            ("s3://b?endpoint=https://oss-cn-hangzhou.aliyuncs.com", "oss"),
            ("s3://b?endpoint=http://127.0.0.1:9000", "minio"),
        ] {
            assert_eq!(Prices::suggested_by(storage).store, store, "{storage}");
        }
    }

    #[test]
    fn keeping_is_paid_by_the_month() {
        assert!((Prices::of("s3").unwrap().dollars_to_keep(100 << 30) - 2.3).abs() < 1e-9);
        assert!(Prices::of("minio").unwrap().dollars_to_keep(u64::MAX) < 1e-9);
    }
}
