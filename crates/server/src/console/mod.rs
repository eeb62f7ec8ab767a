//! The console: `/health`, `/ready` and `/metrics` over HTTP, for people and for what watches the broker.
//!
//! | path | answers |
//! |---|---|
//! | `/health` | 200 while the process runs |
//! | `/ready` | 200 while it serves Kafka clients, else 503 |
//! | `/metrics` | Prometheus text |
//!
//! `/metrics` ends with what the bucket costs ([`cost`]).
//!
//! It must not be able to hurt the broker: connections are few and short ([`listener`]), and an answer only reads.

mod cost;
mod listener;
mod metrics;

use crate::node::Node;
use crate::prices::Prices;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use base::Micros;
use cost::CostMeter;
pub(crate) use cost::names;
use std::sync::{Arc, OnceLock};
use world::{Clock, Listener, Metered, World};

/// What the console shows: filled in as the broker comes up.
pub struct Console {
    clock: Arc<dyn Clock>,
    began: Micros,
    store: Arc<Metered>,
    cost: CostMeter,
    node: OnceLock<Arc<Node>>,
}

impl Console {
    /// Answers at `listener` from now on, at first that the broker is not ready.
    pub fn start(world: &World, listener: Box<dyn Listener>, store: Arc<Metered>, prices: Prices) -> Arc<Console> {
        let clock = world.clock.clone();
        let (began, node) = (clock.now(), OnceLock::new());
        let cost = CostMeter::new(prices, began);
        let console = Arc::new(Console { began, clock: clock.clone(), store, cost, node });
        let router = Router::new()
            .route("/health", get(|| async { "healthy\n" }))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .fallback(|| async { (StatusCode::NOT_FOUND, "there is /health, /ready and /metrics\n") })
            .with_state(console.clone());
        let few = listener::Few::new(listener, clock.clone());
        let serve = async move {
            if let Err(error) = axum::serve(few, router).await {
                tracing::warn!("the console has stopped: {error}");
            }
        };
        drop(clock.spawn("console", Box::pin(serve)));
        console
    }

    /// From here on it is ready.
    pub fn serves(&self, node: Arc<Node>) {
        let first = self.node.set(node).is_ok();
        assert!(first, "a process starts one broker");
    }
}

async fn ready(State(console): State<Arc<Console>>) -> (StatusCode, &'static str) {
    match console.node.get() {
        Some(_) => (StatusCode::OK, "ready\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
    }
}

async fn metrics(State(console): State<Arc<Console>>) -> impl IntoResponse {
    let (began, now) = (console.began, console.clock.now());
    let text = metrics::text(began, now, console.store.used(), &console.cost, console.node.get().map(Arc::as_ref));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
