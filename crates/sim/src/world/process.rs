//! A process on a simulated host: its tasks live, stop and die together.
//!
//! Every task that the code under test spawns goes through [`Process::spawn`], which wraps it. So a process can be *killed*
//! (all its tasks dropped at once, none polled again, like `kill -9`), *paused* (no task polled until it is resumed, while
//! timers and requests in flight go on) and *resumed*. A *fuse* kills or pauses it at one of its next calls to a seam, which is
//! how that comes between any two effects.
//!
//! Leaves to others: what a death does to files, locks and sockets (`disk`, `network`), and when it comes (`nemesis`).

use crate::world::{HostId, Trace};
use futures::future::BoxFuture;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use world::TaskHandle;

/// One life of one program on one host.
pub struct Process {
    /// Unique in the run; never reused.
    pub id: u64,
    /// Where it runs.
    pub host: HostId,
    /// For traces and reports.
    pub name: String,
    trace: Trace,
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Running,
    Paused,
    Dead,
}

struct State {
    status: Status,
    next_task: u64,
    tasks: BTreeMap<u64, Task>,
    parked: Vec<Waker>,
    fuse: Option<Fuse>,
    panic: Option<String>,
    on_death: Vec<Box<dyn FnOnce() + Send>>,
}

/// What happens at one of the next calls to a seam.
#[derive(Debug, Clone, Copy)]
pub struct Fuse {
    /// Calls that still pass.
    pub calls: u64,
    /// Killed where there is none, else paused for so long.
    pub pause: Option<Duration>,
}

struct Task {
    future: Slot,
    abort: Option<tokio::task::AbortHandle>,
}

type Slot = Arc<Mutex<Option<BoxFuture<'static, ()>>>>;

thread_local! {
    static CURRENT: RefCell<String> = const { RefCell::new(String::new()) };
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Called by the run's panic hook: keeps the message, which has the place, for the report.
pub fn note_panic(message: String) {
    LAST_PANIC.set(message);
}

/// The name of the process whose task is being polled on this thread; for log lines.
#[must_use]
pub fn current_name() -> String {
    CURRENT.with_borrow(Clone::clone)
}

impl Process {
    /// A running process without tasks.
    #[must_use]
    pub fn new(id: u64, host: HostId, name: String, trace: Trace) -> Arc<Process> {
        let state = State {
            status: Status::Running,
            next_task: 0,
            tasks: BTreeMap::new(),
            parked: Vec::new(),
            fuse: None,
            panic: None,
            on_death: Vec::new(),
        };
        Arc::new(Process { id, host, name, trace, state: Mutex::new(state), ended: Notify::new() })
    }

    /// Runs a task of this process. On a dead one the task is dropped: a destructor may spawn, a killed process can't.
    pub fn spawn(self: &Arc<Self>, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let mut state = self.lock();
        if state.status == Status::Dead {
            drop(state);
            return TaskHandle::new(super::spawn(std::future::ready(())));
        }
        let id = state.next_task;
        state.next_task += 1;
        let future: Slot = Arc::new(Mutex::new(Some(task)));
        state.tasks.insert(id, Task { future: Arc::clone(&future), abort: None });
        drop(state);
        let handle = super::spawn(HostTask { process: Arc::clone(self), id, name, future });
        if let Some(task) = self.lock().tasks.get_mut(&id) {
            task.abort = Some(handle.abort_handle());
        }
        TaskHandle::new(handle)
    }

    /// Called at each seam: here a burning fuse kills the process, and its caller never comes back, or pauses it.
    pub async fn seam(self: &Arc<Self>) {
        let blown = {
            let mut state = self.lock();
            let blown = state.fuse.take_if(|fuse| fuse.calls == 0);
            if let Some(fuse) = state.fuse.as_mut() {
                fuse.calls -= 1;
            }
            blown
        };
        match blown.map(|fuse| fuse.pause) {
            Some(Some(length)) => {
                self.trace.count("fault.pause_at_a_seam");
                self.pause_for(length);
                // Its caller must not go on either.
                tokio::task::yield_now().await;
            }
            Some(None) => {
                self.trace.count("fault.crash_at_a_seam");
                self.kill("fuse");
            }
            None => {}
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// What happens to the process at one of its next calls to a seam; `None` takes that back.
    pub fn light_fuse(&self, fuse: Option<Fuse>) {
        self.lock().fuse = fuse;
    }

    /// Stops polling its tasks for a while.
    pub fn pause_for(self: &Arc<Self>, length: Duration) {
        self.pause();
        let process = Arc::clone(self);
        drop(super::spawn(async move {
            super::wait(length).await;
            process.resume();
        }));
    }

    /// Kills the process now: drops all its tasks, runs what was registered for its death.
    pub fn kill(&self, why: &str) {
        let mut state = self.lock();
        if state.status == Status::Dead {
            return;
        }
        state.status = Status::Dead;
        let tasks = std::mem::take(&mut state.tasks);
        let parked = std::mem::take(&mut state.parked);
        let on_death = std::mem::take(&mut state.on_death);
        drop(state);
        self.trace.event(&self.name, format_args!("dies: {why}"));
        // Sockets and files first: what the destructors below do to them must count for nothing.
        for action in on_death {
            action();
        }
        for task in tasks.into_values() {
            // The future of the task that is being polled now is not in its slot; the poll drops it when it returns.
            let future = lock(&task.future).take();
            drop(future);
            if let Some(abort) = task.abort {
                abort.abort();
            }
        }
        drop(parked);
        self.ended.notify_waiters();
    }

    /// Stops polling its tasks.
    pub fn pause(&self) {
        let mut state = self.lock();
        if state.status == Status::Running {
            state.status = Status::Paused;
            drop(state);
            self.trace.event(&self.name, format_args!("pauses"));
        }
    }

    /// Polls its tasks again.
    pub fn resume(&self) {
        let mut state = self.lock();
        if state.status != Status::Paused {
            return;
        }
        state.status = Status::Running;
        let parked = std::mem::take(&mut state.parked);
        drop(state);
        self.trace.event(&self.name, format_args!("resumes"));
        for waker in parked {
            waker.wake();
        }
    }

    /// Whether it was killed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.lock().status == Status::Dead
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.lock().status == Status::Paused
    }

    /// Waits for its death.
    pub async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_dead() {
                return;
            }
            ended.await;
        }
    }

    /// The message of a task's panic. A real broker would have aborted; a run in which one did has failed.
    #[must_use]
    pub fn panicked(&self) -> Option<String> {
        self.lock().panic.clone()
    }

    /// Registers what the death does to the world; runs at once where the process is dead already.
    pub fn on_death(&self, action: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if state.status == Status::Dead {
            drop(state);
            action();
        } else {
            state.on_death.push(Box::new(action));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct HostTask {
    process: Arc<Process>,
    id: u64,
    name: &'static str,
    future: Slot,
}

impl Future for HostTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.process.lock();
            match state.status {
                Status::Running => {}
                Status::Paused => {
                    state.parked.push(cx.waker().clone());
                    return Poll::Pending;
                }
                Status::Dead => return Poll::Ready(()),
            }
        }
        let Some(mut future) = lock(&self.future).take() else { return Poll::Ready(()) };
        CURRENT.with_borrow_mut(|current| current.clone_from(&self.process.name));
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        CURRENT.with_borrow_mut(String::clear);
        match polled {
            Ok(Poll::Pending) if !self.process.is_dead() => {
                *lock(&self.future) = Some(future);
                Poll::Pending
            }
            Ok(_) => {
                drop(future);
                self.process.lock().tasks.remove(&self.id);
                Poll::Ready(())
            }
            Err(_) => {
                let message = LAST_PANIC.take();
                self.process.lock().panic = Some(format!("{}, task {}: {message}", self.process.name, self.name));
                self.process.kill("panic");
                Poll::Ready(())
            }
        }
    }
}

impl Drop for HostTask {
    fn drop(&mut self) {
        // Reached by an abort: the future goes with its task.
        let future = lock(&self.future).take();
        drop(future);
        self.process.lock().tasks.remove(&self.id);
    }
}
