//! The order in which tasks wake must not depend on chance.
//!
//! tokio's `watch` spreads its waiters over several lists, picked by a generator that is seeded from the operating system, so
//! one send wakes them in an order that differs from run to run. Wakes that happen while a task is polled are therefore held
//! back until that poll is over, and then passed on in the order of the tasks' births.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

thread_local! {
    static WAKES: RefCell<Wakes> = const { RefCell::new(Wakes { polling: false, next_task: 0, held: BTreeMap::new() }) };
}

struct Wakes {
    polling: bool,
    next_task: u64,
    held: BTreeMap<u64, Waker>,
}

/// A task whose wakes, and whose poll's wakes of others, come in a fixed order.
pub(super) struct Ordered<F> {
    id: u64,
    inner: Pin<Box<F>>,
    waker: Option<(Waker, Waker)>,
}

impl<F> Ordered<F> {
    pub(super) fn new(inner: F) -> Ordered<F> {
        let id = WAKES.with_borrow_mut(|wakes| {
            wakes.next_task += 1;
            wakes.next_task
        });
        Ordered { id, inner: Box::pin(inner), waker: None }
    }
}

impl<F: Future<Output = ()>> Future for Ordered<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let id = self.id;
        let waker = match &self.waker {
            Some((tokio, held)) if tokio.will_wake(cx.waker()) => held.clone(),
            _ => {
                let held = Waker::from(Arc::new(HeldWaker { id, tokio: cx.waker().clone() }));
                self.waker = Some((cx.waker().clone(), held.clone()));
                held
            }
        };
        WAKES.with_borrow_mut(|wakes| wakes.polling = true);
        let _release = Release;
        self.inner.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Passes on what was held back, at the end of a poll, be that a panic.
struct Release;

impl Drop for Release {
    fn drop(&mut self) {
        let held = WAKES.with_borrow_mut(|wakes| {
            wakes.polling = false;
            std::mem::take(&mut wakes.held)
        });
        for waker in held.into_values() {
            waker.wake();
        }
    }
}

struct HeldWaker {
    id: u64,
    tokio: Waker,
}

impl Wake for HeldWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let held = WAKES.with_borrow_mut(|wakes| {
            if wakes.polling {
                wakes.held.entry(self.id).or_insert_with(|| self.tokio.clone());
            }
            wakes.polling
        });
        if !held {
            self.tokio.wake_by_ref();
        }
    }
}
