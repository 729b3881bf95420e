//! The program: arguments -> configuration -> logger -> bridge -> exit code.
//!
//! The command line, the demo and the bench belong to the program, not to the library: they use what
//! the library offers to anyone, and the library cannot use them.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod config_args;
mod dead_letters;
mod doctor;
mod latency;
mod lines;
mod map;
mod manual;
mod signals;
mod top;
#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "demo")]
mod bench;

use std::panic;
use std::process::ExitCode;

use clap::Parser as _;
use mqtt_kafka_bridge::exit::{Cause, Exit, Failure};

use cli::{Cli, Command};

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // A panic that nothing caught ends with an exit code of ours, not with Rust's 101. The panic hook
    // has logged which panic it was.
    panic::catch_unwind(|| obey(command)).unwrap_or_else(|_| {
        let failure = Failure::new(Cause::Panic, "nothing caught it; the line before names it");
        eprintln!("{failure}");
        Exit::Failed.into()
    })
}

fn obey(command: Command) -> ExitCode {
    match command {
        Command::Run(args) => commands::run(&args).into(),
        Command::Leave(args) => commands::leave(&args).into(),
        Command::Check(args) => commands::check(&args).into(),
        Command::Map(args) => commands::map(&args).into(),
        Command::Latency(args) => latency::run(&args.latency, &args.config).into(),
        Command::Top(args) => top::run(&args.top, &args.config).into(),
        Command::DeadLetters(args) => dead_letters::run(&args).into(),
        Command::Doctor(args) => doctor::run(&args.doctor, &args.config).into(),
        Command::Healthcheck(args) => commands::healthcheck(&args).into(),
        Command::Completions(args) => commands::completions(&args).into(),
        Command::Man => commands::man().into(),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(&args),
        #[cfg(feature = "demo")]
        Command::Bench(args) => bench::run(&args),
        #[cfg(feature = "demo")]
        Command::BenchSubject(args) => bench::run_subject(&args),
    }
}
