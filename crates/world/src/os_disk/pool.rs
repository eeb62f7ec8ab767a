//! Threads for calls that block: a bounded queue and a few threads that are started only when work waits for them.
//!
//! A pool at rest before its first job has no thread at all; afterwards its threads stay, parked, with small stacks.
//! Jobs begin in the order of their submission. A job that was submitted runs to its end even when nobody waits for it
//! any more: a write cannot be taken back half way.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use tokio::sync::{Semaphore, oneshot};

/// Jobs that wait in one pool; who comes later waits for room.
const QUEUED_JOBS_MAX: usize = 256;

/// The jobs are plain system calls over buffers on the heap.
const STACK_BYTES: usize = 256 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Why a job gave no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum PoolError {
    #[error("cannot start a disk thread: {0}")]
    NoThread(String),
    #[error("the disk thread panicked")]
    Panicked,
}

/// A queue with its threads. Dropping it lets the threads finish what is queued, and end.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    threads_max: usize,
    room: Arc<Semaphore>,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    parked: usize,
    closed: bool,
}

impl Pool {
    /// A pool of at most `threads_max` threads, none of which runs yet.
    pub(super) fn new(name: &'static str, threads_max: usize) -> Pool {
        assert!(threads_max > 0, "a pool needs a thread");
        let room = Arc::new(Semaphore::new(QUEUED_JOBS_MAX));
        let state = Mutex::new(State::default());
        Pool { shared: Arc::new(Shared { name, threads_max, room, state, work: Condvar::new() }) }
    }

    /// Runs `job` on one of the threads.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let room = Arc::clone(&self.shared.room).acquire_owned().await.expect("the semaphore is never closed");
        let (sender, receiver) = oneshot::channel();
        self.submit(Box::new(move || {
            let result = job();
            drop(room);
            // The waiter may be gone; the work is done all the same.
            drop(sender.send(result));
        }))?;
        receiver.await.map_err(|_| PoolError::Panicked)
    }

    fn submit(&self, job: Job) -> Result<(), PoolError> {
        let mut state = self.shared.lock();
        if state.jobs.len() + 1 > state.parked && state.threads < self.shared.threads_max {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name(self.shared.name.to_owned()).stack_size(STACK_BYTES);
            match thread.spawn(move || shared.work()) {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => return Err(PoolError::NoThread(error.to_string())),
                // The threads that run will get to it.
                Err(_) => {}
            }
        }
        state.jobs.push_back(job);
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    /// What a thread does: take a job, run it, until the pool is dropped and the queue empty.
    fn work(&self) {
        while let Some(job) = self.next_job() {
            // A panic is reported to the waiter, whose channel is dropped with the job; the thread serves on.
            drop(catch_unwind(AssertUnwindSafe(job)));
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.parked += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.parked -= 1;
        }
    }

    /// No job runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        crate::sync::lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn starts_threads_only_when_work_waits_and_never_more_than_allowed() {
        let pool = Pool::new("test", 3);
        assert_eq!(pool.shared.lock().threads, 0);
        pool.run(|| ()).await.unwrap();
        assert_eq!(pool.shared.lock().threads, 1);

        // Three jobs that all wait for each other need three threads at once.
        let barrier = Arc::new(Barrier::new(3));
        let jobs = (0..3).map(|_| {
            let barrier = Arc::clone(&barrier);
            pool.run(move || barrier.wait().is_leader())
        });
        for result in futures::future::join_all(jobs).await {
            result.unwrap();
        }
        futures::future::join_all((0..100).map(|_| pool.run(|| ()))).await;
        assert_eq!(pool.shared.lock().threads, 3);
    }

    /// Submits so many jobs at once to one thread and returns the order in which they ran.
    async fn run_on_one_thread(jobs: usize) -> Vec<usize> {
        let pool = Pool::new("test", 1);
        let order = Arc::new(Mutex::new(Vec::new()));
        let jobs = (0..jobs).map(|n| {
            let order = Arc::clone(&order);
            pool.run(move || order.lock().unwrap().push(n))
        });
        for result in futures::future::join_all(jobs).await {
            result.unwrap();
        }
        assert_eq!(pool.shared.room.available_permits(), QUEUED_JOBS_MAX);
        order.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn one_thread_runs_what_is_queued_in_order() {
        assert_eq!(run_on_one_thread(20).await, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_the_queue_cannot_hold_waits_and_runs_once() {
        let mut order = run_on_one_thread(QUEUED_JOBS_MAX * 3).await;
        order.sort_unstable();
        assert_eq!(order, (0..QUEUED_JOBS_MAX * 3).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_job_whose_waiter_is_gone_still_runs_and_frees_its_room() {
        let pool = Pool::new("test", 1);
        let done = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Barrier::new(2));
        for _ in 0..2 {
            let (done, gate) = (Arc::clone(&done), Arc::clone(&gate));
            let job = pool.run(move || {
                gate.wait();
                done.fetch_add(1, Ordering::SeqCst);
            });
            // Polled once, so that the job is queued, and dropped.
            assert!(futures::FutureExt::now_or_never(job).is_none());
        }
        gate.wait();
        gate.wait();
        pool.run(|| ()).await.unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 2);
        assert_eq!(pool.shared.room.available_permits(), QUEUED_JOBS_MAX);
    }

    #[tokio::test]
    async fn a_panicking_job_is_an_error_for_its_waiter_and_for_nobody_else() {
        let pool = Pool::new("test", 1);
        let failure = pool.run(|| panic!("expected by the test")).await;
        assert!(matches!(failure, Err(PoolError::Panicked)));
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }
}
