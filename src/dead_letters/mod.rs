//! `dead-letters`: lists, shows, exports and replays dead letters, from the bridge's file or Kafka topic. It only
//! reads those: a running bridge is not disturbed.

pub(crate) mod args;
mod export;
mod progress;
mod replay;
mod routes;
mod select;
mod show;
mod source;

use mqtt_kafka_bridge::exit::Exit;

use crate::commands::arm_failpoints;
use args::{Action, DeadLettersArgs};

/// Carries it out.
pub(crate) fn run(args: &DeadLettersArgs) -> Exit {
    if let Err(exit) = arm_failpoints() {
        return exit;
    }
    let done = match &args.action {
        Action::List(args) => show::list(&args.from, args.json),
        Action::Show(args) => show::show(&args.from, &args.id),
        Action::Replay(args) => replay::replay(args),
        Action::Export(args) => export::export(&args.from, args.payloads.as_deref()),
    };
    done.unwrap_or_else(|exit| exit)
}
