//! The guard around an actor's future: it reports and restarts a failed actor, whose address, mailbox
//! and registry entry survive.
//!
//! actix itself restarts an actor that stops, not one that panics: a panic drops the actor with its
//! mailbox, and in `SystemRegistry` a dead singleton can never be replaced. So the guard polls
//! actix's own [`ContextFut`] inside `catch_unwind`, tells SupervisorActor what happened, waits for
//! its directive, and calls [`ContextFut::restart`]. Only the message that was being handled is lost.
//!
//! A restart calls `restarting()`, which has to rebuild the state from the configuration (a panic
//! may have left it half-changed), and then `started()`. Futures given to `ctx.spawn`, `ctx.wait` and
//! `ctx.run_interval` are dropped, so start them in `started()`, not in `restarting()`.
//!
//! One limit: actix numbers spawned futures from 1 again after a restart but remembers a
//! `cancel_future` that a panic overtook. So a guarded actor does not cancel futures in a handler
//! that may panic afterwards.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use actix::dev::{ContextFut, channel};
use actix::{Actor, ActorContext, Addr, Context, Recipient, Supervised, System};
use actix_rt::ArbiterHandle;
use tokio::sync::oneshot;

use super::heartbeat::Heartbeat;
use super::mail::{Cause, ChildDown, Directive};
use crate::exit::Exit;
use crate::observe::panics::{self, PanicReport};

/// Only `try_send` and `send` respect it, and nothing relies on it: the in-flight window is the bound.
const MAILBOX_CAPACITY: usize = 1024;

/// Starts an actor under guard on `arbiter`. The actor has the name of its heartbeat.
///
/// Any end of the actor while it has addresses is a failure: a panic in a handler, in `started()`
/// or in a future of its context, and a `ctx.stop()`. While it waits for its restart its heartbeat
/// is paused. If `supervisor` is gone, the system ends with [`Exit::Failed`].
pub fn start<A>(
    arbiter: &ArbiterHandle,
    supervisor: Recipient<ChildDown>,
    heartbeat: Arc<Heartbeat>,
    make: impl FnOnce() -> A + Send + 'static,
) -> Addr<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    let (sender, receiver) = channel::channel(MAILBOX_CAPACITY);
    arbiter.spawn_fn(move || {
        let down = Down { supervisor, heartbeat };
        match panics::catch(make) {
            Ok(actor) => {
                let actor = Context::with_receiver(receiver).into_future(actor);
                actix_rt::spawn(Guard { actor, down, word: None });
            }
            // There is nothing to restart: SupervisorActor ends the system.
            Err(panic) => drop(down.report(Cause::NotBuilt(panic))),
        }
    });
    Addr::new(sender)
}

struct Guard<A: Actor<Context = Context<A>> + Supervised> {
    actor: ContextFut<A, Context<A>>,
    down: Down,
    /// The actor has failed, and SupervisorActor's directive will come here.
    word: Option<oneshot::Receiver<Directive>>,
}

impl<A: Actor<Context = Context<A>> + Supervised> Future for Guard<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let guard = &mut *self;
        loop {
            if let Some(word) = &mut guard.word {
                let directive = ready!(Pin::new(word).poll(task));
                guard.down.heartbeat.set_paused(false);
                match directive {
                    Ok(Directive::Restart) => match panics::catch(|| guard.actor.restart()) {
                        Ok(true) => guard.word = None,
                        Ok(false) => return Poll::Ready(()),
                        Err(panic) => {
                            guard.word = Some(guard.down.report(Cause::Panicked(panic)));
                            continue;
                        }
                    },
                    Ok(Directive::Stop) => return guard.end(),
                    Err(_) => {
                        end_system();
                        return guard.end();
                    }
                }
            }
            let cause = match panics::catch(|| Pin::new(&mut guard.actor).poll(task)) {
                Ok(Poll::Pending) => return Poll::Pending,
                // The actor has no addresses any more and nothing to do: an end, not a failure.
                Ok(Poll::Ready(())) if !guard.actor.ctx().connected() => return guard.end(),
                Ok(Poll::Ready(())) => Cause::Stopped,
                Err(panic) => Cause::Panicked(panic),
            };
            guard.word = Some(guard.down.report(cause));
        }
    }
}

impl<A: Actor<Context = Context<A>> + Supervised> Guard<A> {
    fn end(&mut self) -> Poll<()> {
        // No more beats come.
        self.down.heartbeat.set_paused(true);
        Poll::Ready(())
    }
}

impl<A: Actor<Context = Context<A>> + Supervised> Drop for Guard<A> {
    fn drop(&mut self) {
        if self.word.is_some() {
            // Otherwise `ContextFut::drop` would run `stopping()` and `stopped()` on an actor that a
            // panic has left half-changed.
            self.actor.ctx().terminate();
        }
    }
}

/// How one actor's failures are reported.
struct Down {
    supervisor: Recipient<ChildDown>,
    heartbeat: Arc<Heartbeat>,
}

impl Down {
    /// If SupervisorActor is gone, the report is dropped, and the receiver gets an error.
    fn report(&self, cause: Cause) -> oneshot::Receiver<Directive> {
        self.heartbeat.set_paused(true);
        let (reply, word) = oneshot::channel();
        self.supervisor.do_send(ChildDown {
            actor: Arc::clone(self.heartbeat.actor()),
            cause,
            reply,
        });
        word
    }
}

fn end_system() {
    if let Some(system) = System::try_current() {
        system.stop_with_code(Exit::Failed.code());
    }
}

/// Polls SupervisorActor itself. It is not restarted: when it ends, for whatever reason, the system
/// ends with [`Exit::Failed`].
pub(super) struct LastResort<A: Actor<Context = Context<A>>, F: Fn(Option<PanicReport>)> {
    actor: ContextFut<A, Context<A>>,
    ended: F,
}

impl<A: Actor<Context = Context<A>>, F: Fn(Option<PanicReport>) + Unpin> LastResort<A, F> {
    /// `ended` gets the panic, if it was one.
    pub(super) fn new(actor: ContextFut<A, Context<A>>, ended: F) -> Self {
        Self { actor, ended }
    }
}

impl<A: Actor<Context = Context<A>>, F: Fn(Option<PanicReport>) + Unpin> Future
    for LastResort<A, F>
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        let panic = match panics::catch(|| Pin::new(&mut this.actor).poll(task)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => None,
            Err(panic) => {
                this.actor.ctx().terminate();
                Some(panic)
            }
        };
        (this.ended)(panic);
        end_system();
        Poll::Ready(())
    }
}
